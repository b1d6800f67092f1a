"""Names of targets."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from slide_deploy.backends.base import Availability, FunctionStream, Session, Target
from slide_deploy.backends.registry import TARGETS, target_named, targets_for, timed_target_named
from slide_deploy.errors import InputError

ROOT = Path(__file__).parents[2]


def own_target(name: str = "own") -> Target:
    return Target(
        name=name,
        suffixes=(".own",),
        find=lambda: Availability(True, "here"),
        open=lambda path, configuration, stage: Session(
            "own", "1", (), (), lambda: FunctionStream(lambda feeds: [])
        ),
    )


MINE = own_target()


def test_names_are_unique_and_found() -> None:
    assert len({target.name for target in TARGETS}) == len(TARGETS)
    for target in TARGETS:
        assert target_named(target.name) is target


def test_targets_on_the_cpu_are_marked() -> None:
    marked = {target.name for target in TARGETS if target.processor}
    assert marked == {
        *("onnxruntime:cpu", "openvino:cpu", "coreml:cpu", "torch:cpu", "torch:cpu-compiled"),
        *("litert:cpu", "litert:reference", "executorch:xnnpack", "coreai:cpu"),
    }


def test_a_target_of_the_user_is_found_by_module_and_attribute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_board.py").write_text(
        "from tests.backends.test_registry import own_target\nfast = own_target('fast')\nslow = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert target_named("my_board:fast").name == "fast"
    with pytest.raises(InputError, match=r"my_board:slow is a int: expected a .*Target"):
        target_named("my_board:slow")
    with pytest.raises(InputError, match=r"no target my_board:fats .*your own as module:attribute"):
        target_named("my_board:fats")


@pytest.mark.parametrize("name", ["onnxruntime:npu", "openvino", "torch:load", ":x", "cpu", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(InputError, match=r"choose one of onnxruntime:cpu, .*torch:mps-compiled"):
        target_named(name)


def test_targets_for_a_file() -> None:
    names = [target.name for target in targets_for(Path("model.onnx"))]
    assert "onnxruntime:cpu" in names
    assert "openvino:cpu" in names
    assert {name.name.split(":")[0] for name in targets_for(Path("m.xml"))} == {"openvino"}
    assert [each.name for each in targets_for(Path("m.mlpackage"))][-1] == "mil-interpreter:cpu"
    assert len(targets_for(Path("m.mlpackage"))) == 5
    assert len(targets_for(Path("m.pth"))) == 6
    kinds = r"known kind.*\.onnx, \.xml, \.mlpackage, \.tflite, \.pte, \.aimodel, \.pth"
    with pytest.raises(InputError, match=kinds):
        targets_for(Path("model.gguf"))


def test_a_target_that_only_proves_files_is_not_timed() -> None:
    proving = {target.name for target in TARGETS if not target.is_timed}
    assert proving == {
        *("onnxruntime:rounded", "mil-interpreter:cpu", "litert:reference", "coreai:cpu")
    }
    assert timed_target_named("openvino:cpu") is target_named("openvino:cpu")
    for name in proving:
        with pytest.raises(
            InputError, match=f"{name} only proves files, .* choose one of onnxrunt"
        ):
            timed_target_named(name)


def test_the_documentation_lists_each_target() -> None:
    rows = [
        line.split("|")[1]
        for line in (ROOT / "docs" / "targets.md").read_text().split("## ")[0].splitlines()
        if line.startswith("| `")
    ]
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row)]
    assert sorted(listed) == sorted(target.name for target in TARGETS)


def test_the_documentation_marks_targets_that_only_prove_files() -> None:
    page = (ROOT / "docs" / "targets.md").read_text(encoding="utf-8").split("## ")[0]
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    assert {len(row) for row in rows} == {4}
    only = [re.findall(r"`([^`]+)`", row[0]) for row in rows if row[3].strip() == "proves only"]
    proving = {target.name for target in TARGETS if not target.is_timed}
    assert {name for names in only for name in names} == proving
    said = page.partition(" targets exist to prove files")
    count = {"Three": 3, "Four": 4, "Five": 5}[said[0].split()[-1]]
    _, listed, *_ = said[2].split("\n\n")
    told = {name for name in proving if f"`{name}`" in listed}
    assert (count, told) == (len(proving), proving)


def test_importing_the_registry_imports_no_runtime() -> None:
    code = (
        "import sys, slide_deploy.backends.registry\n"
        "print([name for name in ('torch', 'onnx', 'onnxruntime', 'openvino', 'coremltools')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["onnxruntime:cpu", "openvino:cpu"])
def test_runtimes_run_without_torch(name: str, written: Path) -> None:
    path = written / "onnxruntime-1" / "small.onnx"
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from benchmarks.record import Configuration\n"
        "from slide_deploy.backends.base import untimed\n"
        "from slide_deploy.backends.registry import target_named\n"
        f"target = target_named('{name}')\n"
        f"session = target.open(Path(r'{path}'), Configuration(), untimed)\n"
        "session({'x': np.ones((1, 4), np.float32)})\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
