"""Limits on the memory and time that reading an untrusted file takes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import elements_of
from slide_deploy.saved.untrusted import damaged

# The published models have 300 to 1,500 operators. This many take some seconds to check.
MAX_NODES = 30_000
# No runtime computes beyond rank 8 or so; the policy's own limit is lower.
MAX_RANK = 64
MAX_DIMENSION = 2**31 - 1
# 2**40 elements are 4 TiB of float32: a shape like that is an attack or a broken byte.
MAX_ELEMENTS = 2**40
# Bytes of a file other than its weights: names, shapes, attributes.
MAX_STRUCTURE_BYTES = 64 << 20


def checked_shape(path: Path, name: str, sizes: Iterable[int]) -> tuple[int, ...]:
    """Check the sizes of a tensor, which must fit into memory.

    Raises:
        InputError: a size is negative or the shape absurd.
    """
    shape = tuple(sizes)
    absurd = (
        len(shape) > MAX_RANK
        or any(not 0 <= size <= MAX_DIMENSION for size in shape)
        or elements_of(shape) > MAX_ELEMENTS
    )
    if absurd:
        shown = ", ".join(map(str, shape[:8])) + (", …" if len(shape) > 8 else "")
        raise damaged(path, f"{short(name)} has the absurd shape ({shown})")
    return shape


def check_node_count(path: Path, count: int) -> None:
    """Refuse a file of more operators than any vision model has.

    Raises:
        InputError: there are more than ``MAX_NODES``.
    """
    if count > MAX_NODES:
        raise InputError(
            f"{path} has more than {MAX_NODES:,} operators, which no vision model needs: do not "
            f"use it, and get the file from a source that you trust."
        )


def check_bytes(path: Path, name: str, shape: Sequence[int], bits: int, size: int) -> int:
    """Compare the bytes that a tensor needs with the bytes that the file stores for it.

    Returns:
        The bytes that it needs; 0 for an empty tensor, for which OpenVINO stores one.

    Raises:
        InputError: they differ.
    """
    needed = (elements_of(shape) * bits + 7) // 8
    if size != needed and not (needed == 0 and size == 1):
        raise damaged(path, f"{short(name)} needs {needed} bytes and has {size}")
    return needed


def short(name: str, limit: int = 80) -> str:
    """A text from a file, shortened and made printable for a one-line message."""
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return printable if len(printable) <= limit else printable[: limit - 1] + "…"
