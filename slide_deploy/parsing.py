"""What users write as text, read strictly: sizes, lists of numbers, shapes and shares.

Options of the command line and entries of suites use the same notation.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slide_deploy.errors import InputError


def parse_size(text: str, of: str) -> tuple[int, int]:
    """Height and width of "224" or "512x768".

    Args:
        text: what was given.
        of: what it was given to, for the message.

    Raises:
        InputError: if it is neither.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or "0" in match.groups():
        raise InputError(f"{of} {text} is not a size: give 224 or 512x768.")
    return int(match[1]), int(match[2] or match[1])


def parse_numbers(text: str | None, of: str) -> tuple[int, ...] | None:
    """The numbers of "1,2,5,8"; None where nothing was given.

    Args:
        text: what was given.
        of: what it was given to, for the message.

    Raises:
        InputError: if it is no list of numbers above zero.
    """
    if text is None:
        return None
    parts = text.replace(" ", "").split(",")
    if not all(re.fullmatch(r"[1-9]\d{0,5}", part) for part in parts):
        raise InputError(f"{of} {text} is no list of numbers: give one for each stage, as 1,2,5,8.")
    return tuple(map(int, parts))


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


def parse_share(text: str, option: str) -> float:
    """A share of 1 from "5%", "5 %" or "0.05".

    A number without % is refused from 1 on: a gate at 500 % that was meant to be one at 5 % would
    let everything pass.

    Args:
        text: as the user gave it.
        option: that it was given to, for the sentence.

    Raises:
        InputError: if the text is no share, or can be read in two ways.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)", text.strip())
    if match is None:
        raise InputError(f"{option} {text} is no share: give 5% or 0.05.")
    number = float(match[1])
    if match[2]:
        return number / 100
    if number >= 1:
        raise InputError(
            f"{option} {text} can be read in two ways: give {match[1]}% or {number * 100:g}%."
        )
    return number
