"""Where in a file tensors are: a path for each, whatever holds them.

A path is made of the keys of nested mappings, the positions in lists and the attributes of objects
that were not built, and ends with the parts of the tensor's own dotted name.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from slide_deploy.checkpoint.known_objects import NumpyArray
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.unpickle import Placeholder, Rejected

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
# Nothing that anybody trains is nested deeper; a file may claim anything.
_MAX_DEPTH = 64


@dataclass(frozen=True)
class Entry:
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


def tensors_of(content: Any) -> Iterator[Entry]:
    """All tensors of a file, in its order, each under the first path that leads to it.

    Args:
        content: what a reader gave.
    """
    for keys, name, value in _leaves(content):
        try:
            tensor = value.tensor() if isinstance(value, NumpyArray) else value
        except Rejected:
            continue  # an array of objects
        parts = tuple(part for part in name.split(".") if part not in WRAPPERS)
        yield Entry((*keys, *parts), len(keys), ".".join((*keys, name)), tensor)


def unnamed_tensors(content: Any) -> dict[Path, int]:
    """Lists of tensors without names, and how many each has."""
    found: dict[Path, int] = {}
    for keys, name, _ in _leaves(content):
        if name.isdecimal():
            found[keys] = found.get(keys, 0) + 1
    return found


def pickled_modules(content: Any) -> Iterator[str]:
    """The classes of whole modules that a file holds, which are code and not weights."""
    for _, _, value in _walk(content):
        if _is_module(value):
            yield value.name


def _leaves(content: Any) -> Iterator[tuple[Path, str, Any]]:
    for keys, name, value in _walk(content):
        if isinstance(value, StoredTensor | NumpyArray):
            yield keys, name, value


def _walk(content: Any) -> Iterator[tuple[Path, str, Any]]:
    """Everything in a file, containers before what they hold: path, last key, value.

    Each container is entered once, so that neither a cycle nor lists of lists of the same list take
    more than their size.
    """
    entered: set[int] = set()
    waiting: list[tuple[Path, str, Any]] = [((), "", content)]
    while waiting:
        keys, name, value = waiting.pop()
        yield keys, name, value
        inside = _inside(value)
        if not inside or id(value) in entered or len(keys) > _MAX_DEPTH:
            continue
        entered.add(id(value))
        path = (*keys, *name.split(".")) if name else keys
        waiting += [(path, str(key), inner) for key, inner in reversed(inside)]


def _inside(value: Any) -> list[tuple[Any, Any]]:
    """What a container holds, by key, attribute or position."""
    if isinstance(value, dict):
        return [(key, inner) for key, inner in value.items() if isinstance(key, str | int)]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if isinstance(value, Placeholder) and not _is_module(value):
        named = {**value.attributes, **value.items}
        parts = [(key, inner) for key, inner in named.items() if isinstance(key, str | int)]
        return [*parts, *enumerate(value.elements), *enumerate(value.arguments)]
    return []


def _is_module(value: Any) -> bool:
    """Whether an object that was not built is a ``torch.nn.Module``."""
    return isinstance(value, Placeholder) and {"_parameters", "_modules"} <= set(value.attributes)
