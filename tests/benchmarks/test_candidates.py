from pathlib import Path

import numpy as np
import pytest

from benchmarks.candidates import Sweep, candidate_name, candidates, labels
from benchmarks.record import Configuration
from slide_deploy.errors import InputError


@pytest.fixture
def files(tmp_path: Path):
    def make(*names: str) -> list[Path]:
        paths = [tmp_path / name for name in names]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return paths

    return make


def names(found) -> list[str]:
    return [each.name for each in found]


def test_every_combination_has_a_unique_name(files):
    sweep = Sweep(("onnxruntime:cpu", "openvino:cpu"), (1, 8), (1, 2))
    found = names(candidates(files("a.onnx", "b.xml"), sweep))
    assert found[:4] == [
        "a.onnx on onnxruntime:cpu",
        "a.onnx on onnxruntime:cpu, 2 streams",
        "a.onnx on onnxruntime:cpu, batch 8",
        "a.onnx on onnxruntime:cpu, batch 8, 2 streams",
    ]
    assert len(set(found)) == len(found) == 4 + 4 + 4  # OpenVINO runs both


def test_each_file_gets_the_first_installed_target(files):
    found = candidates(files("a.onnx", "b.xml"), Sweep())
    assert [each.target for each in found] == ["onnxruntime:cpu", "openvino:cpu"]


def test_equal_names_are_distinguished_by_their_folders(files):
    old, new = files("old/a.onnx", "new/a.onnx")
    assert labels([old, new]) == ["old/a.onnx", "new/a.onnx"]


def test_a_file_may_race_against_itself(files):
    (file,) = files("a.onnx")
    assert names(candidates([file, file], Sweep())) == [
        "a.onnx on onnxruntime:cpu",
        "a.onnx on onnxruntime:cpu #2",
    ]


@pytest.mark.parametrize(
    ("name", "targets", "text"),
    [
        ("a.txt", (), "no known kind"),
        ("a.onnx", ("openvino:xpu",), "no target openvino:xpu"),
        ("a.onnx", ("coreml:ane",), "runs on none of the targets, which run .mlpackage"),
    ],
)
def test_files_that_cannot_run_are_refused(files, name, targets, text):
    with pytest.raises(InputError, match=text):
        candidates(files(name), Sweep(targets))


def test_a_target_that_runs_no_file_is_named(files):
    with pytest.raises(InputError, match="coreml:ane runs none of the files"):
        candidates(files("a.onnx"), Sweep(("onnxruntime:cpu", "coreml:ane")))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        candidates([tmp_path / "a.onnx"], Sweep())


def test_a_name_contains_settings_other_than_1():
    assert candidate_name("a", "t:cpu", Configuration()) == "a on t:cpu"
    name = candidate_name("a", "t:cpu", Configuration(batch=8, streams=2), "384")
    assert name == "a on t:cpu, 384, batch 8, 2 streams"


def claiming(path: Path, precision: str) -> Path:
    """Write an OpenVINO file that declares a precision."""
    import openvino
    from openvino import opset13

    x = opset13.parameter([1, 4], np.float32)
    model = openvino.Model([opset13.relu(x)], [x])
    model.set_rt_info(precision, ["slide_deploy", "precision"])
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


@pytest.mark.parametrize(
    ("claim", "target", "computed"),
    [
        ("bfloat16", "openvino:cpu", "bfloat16"),
        ("bfloat16", "onnxruntime:openvino", "float32"),
        ("int8", "openvino:cpu", "float32"),
        ("float16", "openvino:cpu", "float32"),
        ("float16", "openvino:gpu", "float16"),
        ("nothing", "openvino:cpu", "float32"),
    ],
)
def test_a_target_computes_in_the_precision_of_the_file(tmp_path, claim, target, computed):
    file = claiming(tmp_path / "a.xml", claim)
    sweep = Sweep((target,), as_claimed=True)
    assert sweep.configured(file, target, Configuration()).precision == computed


def test_the_name_and_the_record_contain_the_compute_precision(tmp_path):
    file = claiming(tmp_path / "a.xml", "bfloat16")
    (found,) = candidates([file], Sweep(("openvino:cpu",), as_claimed=True))
    assert found.name == "a.xml on openvino:cpu, bfloat16"
    assert found.configuration.precision == "bfloat16"


def test_a_requested_precision_overrides_that_of_the_file(tmp_path):
    file = claiming(tmp_path / "a.xml", "bfloat16")
    sweep = Sweep(("openvino:cpu",), configuration=Configuration(precision="float32"))
    (found,) = candidates([file], sweep)
    assert found.name == "a.xml on openvino:cpu"
    assert found.configuration.precision == "float32"
