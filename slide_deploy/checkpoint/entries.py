"""Where in a file tensors are: a path for each, whatever holds them.

A path is made of the keys of nested mappings, the positions in lists and the attributes of objects
that were not built, and ends with the parts of the tensor's own dotted name.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slide_deploy.checkpoint.known_objects import NumpyArray
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.unpickle import GlobalName, Placeholder, Rejected

Path = tuple[str, ...]

# What distributed training, torch.compile and activation checkpointing put into names.
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
# Nothing that anybody trains is nested deeper or named longer; a file may claim anything.
_MAX_DEPTH = 64
_MAX_NAME = 1024
# Two entries of a file may share what they hold; lists of lists of the same list do so forever.
_MAX_VISITS = 8


@dataclass(frozen=True)
class CheckpointEntry:
    """A tensor and where it is.

    Args:
        path: keys, then the parts of its name without those of wrappers.
        depth: how many parts of the path are keys.
        name: all of it as the file has it, dotted.
        tensor: what is stored.
    """

    path: Path
    depth: int
    name: str
    tensor: StoredTensor


def tensors_of(content: Any) -> Iterator[CheckpointEntry]:
    """All tensors of a file, in its order.

    Args:
        content: what a reader gave.
    """
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
    """Whole modules that a file holds, which are code and not weights: path and class of each."""
    for keys, name, value in _walk(content):
        if _is_module(value):
            yield (*keys, name), value.name


def _walk(content: Any) -> Iterator[tuple[Path, str, Any]]:
    """Containers and tensors of a file, containers before what they hold: path, last key, value.

    A container is entered a few times at most, so that neither a cycle nor lists of lists of the
    same list take much more than their size.
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
    """The containers and tensors that a container holds, by key, attribute or position."""
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
    """A key as text that can be printed in one line, whatever it is."""
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
