"""Read a folder of ``torch.distributed.checkpoint``: tensors in pieces, and a list of the pieces.

The list is a pickle, ``.metadata``. Like every pickle here it is read without building the objects
that it names, so their attributes are looked up by PyTorch's names.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slide_deploy.checkpoint.entries import key_text
from slide_deploy.checkpoint.known_objects import tensor_type
from slide_deploy.checkpoint.stored_tensor import StoredTensor, UnreadableTensor
from slide_deploy.checkpoint.torch_file import read_torch, read_torch_bytes
from slide_deploy.checkpoint.unpickle import Placeholder
from slide_deploy.errors import InputError

METADATA = ".metadata"

_Place = tuple[str, int, int]
"""File, first byte and number of bytes of a piece."""


def read_distributed(folder: Path) -> dict[Any, Any]:
    """Read the structure of a distributed checkpoint.

    Returns:
        Nested dicts as they were saved, with a ``StoredTensor`` for each tensor.

    Raises:
        InputError: the list is damaged, or a file that it names is missing.
    """
    metadata = _attributes(read_torch(folder / METADATA))
    described = metadata.get("state_dict_metadata")
    if not isinstance(described, dict):
        raise InputError(f"{folder / METADATA} lists no tensors: copy the whole folder again.")
    places = _places(folder, metadata.get("storage_data"))
    paths = metadata.get("planner_data")
    tree: dict[Any, Any] = {}
    for name, description in described.items():
        path = paths.get(name) if isinstance(paths, dict) else None
        keys = path if isinstance(path, tuple) and path else (name,)
        value = _value(folder, str(name), _attributes(description), places)
        inner = tree
        for key in keys[:-1]:
            step = inner.setdefault(key_text(key), {})
            inner = step if isinstance(step, dict) else {}
        inner[key_text(keys[-1])] = value
    extra = folder / "meta.pt"  # Lightning stores everything but tensors there
    if extra.is_file():
        tree["meta.pt"] = read_torch(extra)
    return tree


def _attributes(value: Any) -> Mapping[Any, Any]:
    return value.attributes if isinstance(value, Placeholder) else {}


def _places(folder: Path, listed: Any) -> dict[tuple[str, tuple[int, ...]], _Place]:
    """The place of each piece, by the tensor's name and the piece's offsets."""
    places: dict[tuple[str, tuple[int, ...]], _Place] = {}
    for index, place in listed.items() if isinstance(listed, dict) else ():
        where, what = _attributes(place), _attributes(index)
        file, first, size = (where.get(key) for key in ("relative_path", "offset", "length"))
        name, offset = what.get("fqn"), what.get("offset") or ()
        if where.get("transform_descriptors"):
            raise InputError(f"{folder} stores compressed tensors: save them as they are.")
        if not (isinstance(file, str) and isinstance(name, str) and isinstance(offset, tuple)):
            continue
        if Path(file).name == file and isinstance(first, int) and isinstance(size, int):
            places[name, offset] = (file, first, size)
    for file in sorted({file for file, _, _ in places.values()}):
        if not (folder / file).is_file():
            raise InputError(f"{folder} lacks {file}, which its {METADATA} names: copy it again.")
    return places


def _value(
    folder: Path,
    name: str,
    description: Mapping[Any, Any],
    places: Mapping[tuple[str, tuple[int, ...]], _Place],
) -> Any:
    """A tensor, or the plain data that is stored under its name."""
    size, pieces = description.get("size"), description.get("chunks")
    whole_numbers = isinstance(size, tuple) and all(isinstance(side, int) for side in size)
    if not isinstance(size, tuple) or not whole_numbers or not isinstance(pieces, list):
        place = places.get((name, ()))
        return None if place is None else _read_piece(folder, place)
    dtype = tensor_type(_property(description, "dtype"))
    if dtype is None:
        return StoredTensor(size, unsupported="special")
    found = [_attributes(piece).get("offsets") for piece in pieces]
    offsets = [offset for offset in found if isinstance(offset, tuple)]
    held = [places.get((name, offset)) for offset in offsets]

    def read() -> Tensor:
        whole = torch.empty(0, dtype=dtype)
        filled = 0
        for offset, place in zip(offsets, held, strict=True):
            stored = None if place is None else _read_piece(folder, place)
            if not isinstance(stored, StoredTensor) or len(stored.shape) != len(size):
                raise UnreadableTensor("lacks a piece")
            piece = stored.read(name)
            if len(held) == 1 and piece.shape == size:
                return piece
            if not filled:
                whole = torch.empty(size, dtype=dtype)
            ends = (first + side for first, side in zip(offset, piece.shape, strict=True))
            whole[tuple(map(slice, offset, ends))] = piece
            filled += piece.numel()
        if filled != whole.numel() or tuple(whole.shape) != size:
            raise UnreadableTensor("lacks a piece")
        return whole

    return StoredTensor(size, dtype, read)


def _property(description: Mapping[Any, Any], name: str) -> Any:
    """A property of a tensor; PyTorch pickles them as a tuple that begins with the type."""
    properties = description.get("properties")
    found = _attributes(properties).get(name)
    if found is None and isinstance(properties, Placeholder):
        parts = properties.state if isinstance(properties.state, tuple) else properties.arguments
        found = next((part for part in parts if tensor_type(part) is not None), None)
    return found


def _read_piece(folder: Path, place: _Place) -> Any:
    file, first, size = place
    whole = (folder / file).stat().st_size
    if not (first >= 0 and size >= 0 and first + size <= whole):
        raise InputError(f"{folder / file} is shorter than {METADATA} states: copy it again.")
    with (folder / file).open("rb") as stream:
        stream.seek(first)
        data = stream.read(size)
    return read_torch_bytes(folder / file, memoryview(data))
