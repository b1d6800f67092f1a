"""Other weights in a valid file: a tensor's bytes are found in the file and overwritten.

Every format keeps a weight as its bytes, the transposed ones where the converter turned a matrix
product round. Weights of the golden models are random, so that a tensor's bytes stand in one place.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from slide_deploy.models.slide_swin import SlideSwin
from tests.mutants.bases import Base, lowered, valid_weights
from tests.mutants.mutant import Damage

Edit = Callable[[nn.Module, SlideSwin], object]


def in_weights(edit: Edit) -> Damage:
    """Damage to the lowered model's weights; ``edit`` gets a copy of it, and the trained model."""

    def damage(base: Base, format: str, folder: Path) -> Path:
        damaged = copy.deepcopy(base.lowered)
        with torch.no_grad():
            edit(damaged, base.checkpoint.model)
        return patched(base, format, folder, damaged)

    return damage


def before_folding(edit: Callable[[SlideSwin], object]) -> Damage:
    """Damage to the trained model's weights, before it is folded and lowered."""

    def damage(base: Base, format: str, folder: Path) -> Path:
        trained = copy.deepcopy(base.checkpoint.model)
        with torch.no_grad():
            edit(trained)
        return patched(base, format, folder, lowered(trained))

    return damage


def patched(base: Base, format: str, folder: Path, damaged: nn.Module) -> Path:
    """A copy of the valid file with the weights of a damaged model."""
    path = base.copy(format, folder)
    overwrite(path, valid_weights(base, format), base.weights(format, damaged))
    return path


def overwrite(path: Path, before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Replace the tensors that differ; the file keeps its size."""
    changed = {name: new for name, new in after.items() if not torch.equal(before[name], new)}
    assert changed, "the damage changes no weight"
    contents = {file: bytearray(file.read_bytes()) for file in _files(path)}
    # All places are found before any change, because a swapped tensor would then be found twice.
    places = [
        (file, place, new_bytes)
        for name, new in changed.items()
        for file, place, new_bytes in [_place(contents, name, before[name], new)]
    ]
    for file, place, new_bytes in places:
        contents[file][place : place + len(new_bytes)] = new_bytes
    for file, content in contents.items():
        file.write_bytes(content)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return sorted(path.parent.glob(f"{path.stem}.*"))


def _place(
    contents: Mapping[Path, bytearray], name: str, before: Tensor, after: Tensor
) -> tuple[Path, int, bytes]:
    """The file and offset of a tensor, and the bytes to write there."""
    found = [
        (file, place, new)
        for old, new in _orders(before, after)
        for file, content in contents.items()
        for place in _occurrences(content, old)
    ]
    assert len(found) == 1, f"{name} stands in {len(found)} places of {[*contents]}"
    return found[0]


def _orders(before: Tensor, after: Tensor) -> Iterator[tuple[bytes, bytes]]:
    yield _bytes(before), _bytes(after)
    if before.ndim == 2:
        yield _bytes(before.T), _bytes(after.T)


def _bytes(tensor: Tensor) -> bytes:
    return bytes(tensor.detach().float().contiguous().numpy().tobytes())


def _occurrences(content: bytearray, wanted: bytes) -> Iterator[int]:
    place = content.find(wanted)
    while place >= 0:
        yield place
        place = content.find(wanted, place + 1)
