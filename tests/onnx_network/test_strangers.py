"""fold copies files of other tools byte for byte, folds them, or refuses them in one sentence."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from slide_deploy.errors import InputError
from slide_deploy.onnx_network import operators
from slide_deploy.tasks.fold_file import fold_file
from tests.onnx_network.conformance import cases
from tests.onnx_network.strangers import (
    NAMES,
    OUTER,
    from_packages,
    write,
    write_constants,
    write_outer,
)

# They cannot be read as a graph of tensors, or there may be something to fold and the graph has no
# outputs, or an operator that cannot be run.
REFUSED = (
    *(
        "no inputs",
        "a size of -1",
        "no outputs",
        "an unknown rank",
        "a sequence",
        "an optional",
        "texts",
        "a custom domain",
    ),
    *("classical learning", "a branch", "a loop", "eight bits", "a size that does not fit"),
    *("a value that nothing computes", "a cycle", "an attribute that is missing"),
    *("random numbers", "results that decide on sizes", "far too large", "an input far too large"),
    *("a function that calls itself", "sparse weights", "data outside its folder"),
    "many constants",
    *(f"a {each} far too large" for each in ("tile", "pad", "resize", "range")),
    *("no bytes", "a text", "half of a model"),
)


def folded(path: Path, output: Path) -> str:
    """What fold did with a file; any other error than a refusal is raised."""
    try:
        result = fold_file(path, output, force=True)
    except InputError as error:
        assert str(path) in str(error)
        assert str(error).endswith(".")
        return "refused"
    assert result.passed
    if result.is_unchanged:
        assert output.read_bytes() == path.read_bytes()
        return "copied"
    return "folded"


@pytest.mark.parametrize("name", NAMES)
def test_a_strange_model_is_copied_or_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    write(name, path)
    outcome = folded(path, tmp_path / "out" / "folded.onnx")
    assert outcome == ("refused" if name in REFUSED else "copied")
    if outcome == "refused":
        left = {each.name for each in tmp_path.rglob("*")}
        assert "model.onnx" in left and left <= {"model.onnx", "out"}


def counted(paths: Iterable[Path], folder: Path) -> dict[str, int]:
    counts = {"copied": 0, "folded": 0, "refused": 0}
    for path in paths:
        counts[folded(path, folder / "folded.onnx")] += 1
    return counts


@pytest.mark.slow
def test_some_files_of_packages_are_copied_or_refused(tmp_path: Path) -> None:
    chosen = [path for path in from_packages() if "light" not in path.parent.name][::15]
    counts = counted(chosen, tmp_path)
    assert counts["copied"] > 7
    assert sum(counts.values()) == len(chosen)


@pytest.mark.full
def test_all_files_of_packages_are_copied_folded_or_refused(tmp_path: Path) -> None:
    counts = counted(from_packages(), tmp_path)
    # DenseNet, Inception, ResNet and ShuffleNet have normalisations behind convolutions.
    assert counts["folded"] == 4
    assert counts["copied"] > 140
    assert counts["refused"] < 5


@pytest.mark.full
def test_all_conformance_models_are_copied_folded_or_refused(tmp_path: Path) -> None:
    def paths() -> Iterable[Path]:
        for number, case in enumerate(cases()):
            path = tmp_path / f"{number}.onnx"
            path.write_bytes(case.model)
            yield path
            path.unlink()

    counts = counted(paths(), tmp_path)
    assert counts["copied"] > 1800
    assert counts["refused"] < 30


@pytest.mark.parametrize("node", OUTER)
def test_constants_are_not_computed_where_they_grow_far_too_large(
    node: str, tmp_path: Path
) -> None:
    """They would take 360 GB, so that they are refused by their shapes alone."""
    path = tmp_path / "model.onnx"
    write_outer(node, path)
    with pytest.raises(
        InputError, match=r"it makes 89,999,\d{3},000 numbers, more than 268,435,456"
    ):
        fold_file(path, tmp_path / "folded.onnx")


def test_constants_that_are_only_moved_may_be_as_large_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(operators, "_MOST_NUMBERS", 1000)
    path = tmp_path / "model.onnx"
    write_constants("Transpose(table)", {"table": np.ones((40, 30), np.float32)}, path)
    assert folded(path, tmp_path / "folded.onnx") == "copied"
    write_constants("Tile(table, twice)", {"table": np.ones((40, 30)), "twice": [1, 2]}, path)
    assert folded(path, tmp_path / "folded.onnx") == "refused"
    write_constants("Add(two, table)", {"two": [1, 2], "table": np.ones((40, 2), int)}, path)
    assert folded(path, tmp_path / "folded.onnx") == "copied"
    assert not recwarn.list
