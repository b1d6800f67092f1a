"""Slide attention is recognised behind the optimisers of other tools, which write graphs anew."""

import importlib.util
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from slide_deploy.errors import InputError
from tests.onnx_network import optimisers
from tests.onnx_network.files import (
    Writer,
    changed,
    checkpoint_of,
    difference,
    file_of,
    folded,
    operators,
)
from tests.shared import once

Change = Callable[[Path, Path], None]
CHANGES: tuple[Change, ...] = (
    optimisers.slimmed,
    optimisers.simplified,
    optimisers.scripted,
    optimisers.by_runtime,
    optimisers.with_constant_nodes,
    optimisers.hidden,
    optimisers.with_external_data,
)
FILES = (
    ("slide_swin_nano_1stage", Writer("torchscript", 13)),
    ("slide_swin_nano_1stage", Writer("dynamo", 20, "open")),
    ("slide_cswin_nano", Writer("torchscript", 17, "open")),
    ("slide_pvt_nano", Writer("dynamo", 18)),
    ("slide_nat_nano", Writer("torchscript", 13, 2)),
)
# Changes of constants alone, after which the same file is written as before.
SAME = (optimisers.with_constant_nodes, optimisers.hidden, optimisers.with_external_data)
MOVEMENTS = frozenset(
    {
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Gather"),
        *("Shape", "Cast"),
    }
)
NEEDS = {optimisers.slimmed: "onnxslim", optimisers.simplified: "onnxsim"}


class _Plain(NamedTuple):
    """The unchanged file, folded: the number of attentions, and how often each operator occurs."""

    folded: int
    operators: Counter[str]


def _plain(name: str, writer: Writer) -> _Plain:
    def fold(folder: Path) -> _Plain:
        result = folded(file_of(name, writer), folder / "folded.onnx")
        return _Plain(len(result.certificate.folded), operators(result.path))

    return once(("plainly folded", name, writer), fold)


def _marks(place: int, change: Change) -> list[pytest.MarkDecorator]:
    """The slow tests meet two optimisers on one file; make full has all of them on all."""
    is_slow = place == 0 and change in (optimisers.slimmed, optimisers.by_runtime)
    return [pytest.mark.slow if is_slow else pytest.mark.full]


@pytest.mark.parametrize(
    ("name", "writer", "change"),
    [
        pytest.param(
            name,
            writer,
            change,
            id=f"{name}-{writer}-{change.__name__}",
            marks=_marks(place, change),
        )
        for place, (name, writer) in enumerate(FILES)
        for change in CHANGES
    ],
)
def test_folds_as_before_the_change(
    name: str, writer: Writer, change: Change, tmp_path: Path
) -> None:
    if importlib.util.find_spec(NEEDS.get(change, "onnx")) is None:
        pytest.skip(f"{NEEDS[change]} is not installed")
    before = file_of(name, writer)
    path = changed(change.__name__, before, change)
    plain = _plain(name, writer)
    result = folded(path, tmp_path / "folded.onnx")
    assert result.passed and not result.certificate.left and not result.remarks
    assert len(result.certificate.folded) == plain.folded > 0
    config = checkpoint_of(name).config
    batch = 3 if writer.batch == "open" else writer.batch
    assert difference(result.path, path, (batch, config.in_channels, *config.image_size)) < 1e-5
    ours, before = operators(result.path), plain.operators
    if change not in SAME:  # other tools join slices, and move transposes through splits
        ours, before = (
            Counter({each: count for each, count in found.items() if each not in MOVEMENTS})
            for found in (ours, before)
        )
    assert ours == before


def test_operators_of_a_runtime_are_refused_in_a_sentence(tmp_path: Path) -> None:
    before = file_of(*FILES[0])
    path = changed("extended", before, optimisers.by_runtime_extended)
    with pytest.raises(InputError) as refused:
        folded(path, tmp_path / "folded.onnx")
    assert re.fullmatch(
        rf"{re.escape(str(path))}: \S.* is a com\.microsoft\.\w+, which cannot be read: "
        r"give the file as it was before ONNX Runtime rewrote it\.",
        str(refused.value),
    )
    assert not list(tmp_path.iterdir())
