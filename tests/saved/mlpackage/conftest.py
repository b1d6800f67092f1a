"""One small saved package, and a way to damage copies of it."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

from slide_deploy.saved.mlpackage.protobuf import parse_model

MODEL = "Data/com.apple.CoreML/model.mlmodel"


@pytest.fixture(scope="session")
def arrays():
    """Weights of the package by name, large enough to live in the weight file."""
    random = np.random.default_rng(11)
    return {
        "wide": random.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "half": random.standard_normal((4, 3, 3, 3)).astype(np.float16),
    }


@pytest.fixture(scope="session")
def package(arrays, tmp_path_factory):
    """Two convolutions, of float32 and of float16, saved with user metadata."""
    import coremltools as ct
    from coremltools.converters.mil import Builder as mb

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 6, 5))], opset_version=ct.target.iOS17)
    def program(x):
        wide = mb.conv(x=x, weight=mb.const(val=arrays["wide"], name="wide"), pad_type="valid")
        small = mb.cast(x=x, dtype="fp16")
        half = mb.conv(x=small, weight=mb.const(val=arrays["half"], name="half"), pad_type="valid")
        return mb.add(x=wide, y=mb.cast(x=half, dtype="fp32"), name="out")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = ct.convert(
            program,
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17,
            skip_model_load=True,
            pass_pipeline=ct.PassPipeline.EMPTY,
        )
    model.user_defined_metadata["slide_deploy.form"] = "depthwise"
    path = tmp_path_factory.mktemp("package") / "model.mlpackage"
    model.save(str(path))
    return path


@pytest.fixture
def copy(package, tmp_path) -> Path:
    """A copy that a test may damage."""
    path = tmp_path / "copy.mlpackage"
    shutil.copytree(package, path)
    return path


@pytest.fixture
def edit_spec(copy):
    """Change the specification of the copy: ``edit_spec(change)``, with a function of it."""

    def edit(change):
        spec = parse_model((copy / MODEL).read_bytes())
        change(spec)
        (copy / MODEL).write_bytes(spec.SerializeToString())
        return copy

    return edit


@pytest.fixture
def edit_manifest(copy):
    """Change the manifest of the copy."""

    def edit(change):
        manifest = json.loads((copy / "Manifest.json").read_text())
        change(manifest)
        (copy / "Manifest.json").write_text(json.dumps(manifest))
        return copy

    return edit
