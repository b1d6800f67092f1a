"""The tensors of a checkpoint and their paths.

A path consists of the keys of nested mappings, the positions in lists and the attributes of objects
that were not built. It ends with the parts of the tensor's own dotted name.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slide_deploy.checkpoint.known_objects import NumpyArray
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.unpickle import GlobalName, Placeholder, Rejected

Path = tuple[str, ...]

# Name parts that distributed training, torch.compile and activation checkpointing insert.
WRAPPERS = frozenset(
    {
        "module",
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_fpw_module",
        "_checkpoint_wrapped_module",
        "_forward_module",
    }
)
# Limits for damaged and hostile files; no real checkpoint is nested deeper or has longer names.
_MAX_DEPTH = 64
_MAX_NAME = 1024
# Entries of a file may share containers. Lists of lists of one list share it exponentially often.
_MAX_VISITS = 8


@dataclass(frozen=True)
class CheckpointEntry:
    """A tensor and its path.

    Attributes:
        path: keys, then the parts of its name without those of wrappers.
        depth: number of keys at the start of the path.
        name: the whole path as stored, dotted.
        tensor: the stored tensor.
    """

    path: Path
    depth: int
    name: str
    tensor: StoredTensor


def tensors_of(content: Any) -> Iterator[CheckpointEntry]:
    """Yield all tensors of a file, in its order."""
    for keys, name, value in _walk(content):
        if not isinstance(value, StoredTensor | NumpyArray):
            continue
        try:
            tensor = value.tensor() if isinstance(value, NumpyArray) else value
        except Rejected:
            continue  # an array of objects
        parts = tuple(part for part in name.split(".") if part not in WRAPPERS)
        yield CheckpointEntry((*keys, *parts), len(keys), ".".join((*keys, name)), tensor)


def pickled_modules(content: Any) -> Iterator[tuple[Path, str]]:
    """Yield path and class of each pickled module, which is code and not weights."""
    for keys, name, value in _walk(content):
        if _is_module(value):
            yield (*keys, name), value.name


def _walk(content: Any) -> Iterator[tuple[Path, str, Any]]:
    """Yield path, last key and value of containers and tensors, each container before its contents.

    A container is entered a few times at most, so that a cycle, or lists of lists of one list, take
    little more time than their size.
    """
    entered: Counter[int] = Counter()
    waiting: list[tuple[Path, str, Any]] = [((), "", content)]
    while waiting:
        keys, name, value = waiting.pop()
        yield keys, name, value
        inside = _inside(value)
        if not inside or entered[id(value)] == _MAX_VISITS or len(keys) > _MAX_DEPTH:
            continue
        entered[id(value)] += 1
        path = (*keys, *name.split(".")) if name else keys
        waiting += [(path, key, inner) for key, inner in reversed(inside)]


def _inside(value: Any) -> list[tuple[str, Any]]:
    """The containers and tensors inside a container, by key, attribute or position."""
    held: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        held = list(value.items())
    elif isinstance(value, list | tuple):
        held = list(enumerate(value))
    elif isinstance(value, Placeholder) and not _is_module(value):
        held = list({**value.attributes, **value.items}.items())
        held += [*enumerate(value.elements), *enumerate(value.arguments)]
        if isinstance(value.state, list | tuple):
            held += enumerate(value.state)
    kinds = (dict, list, tuple, Placeholder, StoredTensor, NumpyArray)
    return [(key_text(key), inner) for key, inner in held if isinstance(inner, kinds)]


def key_text(key: Any) -> str:
    """A key of any type as printable text of one line."""
    if isinstance(key, bytes):
        key = key.decode("utf-8", "replace")
    if isinstance(key, Placeholder | GlobalName):
        key = f"({key.name})"
    if isinstance(key, int) and abs(key) > 2**64:
        key = "(a large number)"
    text = str(key)[:_MAX_NAME]
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def _is_module(value: Any) -> bool:
    """Whether an object that was not built is a ``torch.nn.Module``."""
    return isinstance(value, Placeholder) and {"_parameters", "_modules"} <= set(value.attributes)
