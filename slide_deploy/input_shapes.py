"""Sizes that a user gives for inputs which a file leaves open: ``--shape NAME=1x3x224x224``."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slide_deploy.errors import InputError


def parse_shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Sizes by the name of the input.

    Raises:
        InputError: if a text is not of the form NAME=1x3x224x224.
    """
    shapes = {}
    for text in texts:
        match = re.fullmatch(r"(.+)=(\d+(?:x\d+)*)", text)
        if match is None:
            raise InputError(f"--shape {text} is not a shape: give NAME=1x3x224x224.")
        shapes[match[1]] = tuple(map(int, match[2].split("x")))
    return shapes


def refuse_other_shapes(
    path: Path,
    declared: Mapping[str, Sequence[int | None] | None],
    given: Mapping[str, Sequence[int]],
) -> None:
    """Refuse sizes that a file does not take.

    Args:
        path: the file, for the message.
        declared: sizes by the name of the input, None where one is open or not even the rank is
            known.
        given: what the user says.

    Raises:
        InputError: if there is no such input, or a size is another one or 0.
    """
    for name, shape in given.items():
        if name not in declared:
            raise InputError(
                f"{path} has no input {name}: name one of {', '.join(declared)} in --shape."
            )
        known = declared[name]
        if min(shape, default=1) > 0 and (
            known is None
            or (
                len(shape) == len(known)
                and all(ours in (size, None) for size, ours in zip(shape, known, strict=True))
            )
        ):
            continue
        takes = "any shape" if known is None else written(known)
        raise InputError(
            f"{path} takes {name} as {takes}, not {written(shape)}: change --shape {name}."
        )


def written(shape: Sequence[int | None]) -> str:
    """A shape for a message, with a question mark for each open size."""
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"
