"""The requested precision sets the limit, or else the precision that the file claims."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

import slide_deploy
from slide_deploy.api.networks import network_of
from slide_deploy.backends.base import Configuration, untimed
from slide_deploy.backends.registry import target_named
from slide_deploy.cli import app
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.graph_checks import check_file
from slide_deploy.precisions import precision_named
from slide_deploy.tasks.proofs import examples_to_prove
from tests.shared import once
from tests.support import copied, exported, golden_swin, randomise

NANO = golden_swin("slide_swin_nano")
IMAGE = torch.zeros(1, 3, 16, 16)


def network() -> nn.Module:
    layers = (nn.Conv2d(3, 64, 4, 4), nn.Flatten(2), nn.Linear(16, 256), nn.GELU())
    return randomise(nn.Sequential(*layers, nn.Linear(256, 16)), seed=1)


def examples(folder: Path) -> Path:
    path = folder / "examples.npz"
    images = np.random.default_rng(0).standard_normal((16, 3, 16, 16)).astype(np.float32)
    np.savez(path, input=images)
    return path


def written(precision: str, format: str = "openvino") -> Path:
    """Export a file of the network once."""

    def write(folder: Path) -> Path:
        calibration = examples(folder) if precision == "int8" else None
        result = slide_deploy.export(
            network(), IMAGE, to=format, out=folder, precision=precision, calibration=calibration
        )
        result.raise_if_failed()
        return result.paths[format]

    return once(("proofs", precision, format), write)


def deployable() -> Deployable:
    return network_of(network(), IMAGE)


def has_bfloat16() -> bool:
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_the_precision_that_a_file_claims_sets_the_limit() -> None:
    verdict = slide_deploy.verify(written("float16", "onnx"), network(), IMAGE)
    assert verdict.passed
    assert verdict.precision == "float16"
    assert verdict.verification.limit == precision_named("float16").limit
    assert verdict.verification.runtime == "onnxruntime in float16"
    assert "in float16" in repr(verdict)


def test_the_requested_precision_wins() -> None:
    verdict = slide_deploy.verify(written("float16", "onnx"), network(), IMAGE, precision="float32")
    assert not verdict.passed
    assert verdict.verification.runtime == "onnxruntime"


@pytest.mark.skipif(not has_bfloat16(), reason="the processor has no bfloat16")
def test_bfloat16_is_used_and_shown() -> None:
    verdict = slide_deploy.verify(written("float32"), network(), IMAGE, precision="bfloat16")
    assert verdict.verification.runtime == "openvino in bfloat16"
    noise = verdict.verification.worst.snr_db
    exact = slide_deploy.verify(written("float32"), network(), IMAGE).verification
    assert exact.runtime == "openvino"
    assert noise < 60 < 80 < exact.worst.snr_db
    claimed = slide_deploy.verify(written("bfloat16"), network(), IMAGE).verification
    assert claimed.runtime == "openvino in bfloat16"


def test_arithmetic_that_the_cpu_lacks_is_refused() -> None:
    import openvino

    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("the processor has float16")
    half = Configuration(precision="float16", batch=None)
    with pytest.raises(InputError, match=r"openvino:cpu computes in \w+ here, not float16"):
        target_named("openvino:cpu").open(written("float32"), half, untimed)


@pytest.mark.parametrize(
    ("claim", "why"),
    [("int8", "none of its .* 8 bits"), ("bfloat16", "onnx is written in float32, ")],
)
def test_an_edited_claim_does_not_help_a_wrong_file(tmp_path: Path, claim: str, why: str) -> None:
    path = copied(written("float32", "onnx"), tmp_path)
    model = onnx.load(path)
    entry = next(each for each in model.metadata_props if each.key == "slide_deploy.precision")
    entry.value = claim
    onnx.save(model, path)
    assert "SD021" in {found.rule for found in check_file(path).errors}
    with pytest.raises(InputError, match=rf"does not match the precision in its metadata .*{why}"):
        slide_deploy.verify(path, network(), IMAGE)
    assert slide_deploy.verify(path, network(), IMAGE, precision="float32").passed


def test_int8_is_verified_on_the_examples_held_back(tmp_path: Path) -> None:
    path = written("int8")
    with pytest.raises(
        InputError, match=r"int8 is verified on examples, .*: give .calibration. the"
    ):
        slide_deploy.verify(path, network(), IMAGE)
    verdict = slide_deploy.verify(path, network(), IMAGE, calibration=examples(tmp_path))
    assert verdict.passed
    (case,) = verdict.verification.cases
    assert (case.name, case.batch) == ("examples held back", 4)


def test_other_examples_than_those_of_the_export_are_noted(tmp_path: Path) -> None:
    path = written("int8", "onnx")
    int8 = precision_named("int8")
    _, remarks = examples_to_prove(path, deployable(), int8, examples(tmp_path))
    assert remarks == ()
    other = tmp_path / "other.npz"
    images = np.random.default_rng(1).standard_normal((16, 3, 16, 16)).astype(np.float32)
    np.savez(other, input=images)
    _, (remark,) = examples_to_prove(path, deployable(), int8, other)
    assert "was calibrated on another set than" in remark


def test_unneeded_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"verified in float32: leave it out"):
        slide_deploy.verify(written("float32"), network(), IMAGE, calibration=examples(tmp_path))


def test_the_command_reports_the_source_of_its_limits() -> None:
    result = exported(NANO.load(), formats=("openvino",), precision="float16")
    arguments = ["verify", str(result.paths["openvino"]), "--against", str(NANO.path)]
    said = CliRunner().invoke(app, arguments)
    assert said.exit_code == 0
    assert "max rel 5 %, SNR 40 dB" in said.stdout
    assert "precision: float16, as the file claims" in said.stdout
    asked = CliRunner().invoke(app, [*arguments, "--precision", "float32"])
    assert asked.exit_code == 1
    assert "precision: float32: everything" in asked.stdout
