"""Text from users, parsed strictly (sizes, numbers, shapes, percentages), and text for messages.

Command-line options and entries of suites use the same notation.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from slide_deploy.errors import InputError


def parse_size(text: str, of: str) -> tuple[int, int]:
    """Parse "224" or "512x768".

    Args:
        text: the text to parse.
        of: name of the option, for the message.

    Returns:
        Height and width in pixels.

    Raises:
        InputError: the text is not a size.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None or "0" in match.groups():
        raise InputError(f"{of} {text} is not a size: give 224 or 512x768.")
    return int(match[1]), int(match[2] or match[1])


def parse_numbers(text: str | None, of: str) -> tuple[int, ...] | None:
    """Parse a list such as "1,2,5,8".

    Args:
        text: the text to parse; None if the option was not given.
        of: name of the option, for the message.

    Returns:
        The numbers; None if ``text`` is None.

    Raises:
        InputError: the text is not a list of numbers above zero.
    """
    if text is None:
        return None
    parts = text.replace(" ", "").split(",")
    if not all(re.fullmatch(r"[1-9]\d{0,5}", part) for part in parts):
        raise InputError(
            f"{of} {text} is not a list of numbers: give one for each stage, for example 1,2,5,8."
        )
    return tuple(map(int, parts))


def parse_shapes(texts: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Parse texts such as "image=1x3x224x224" into shapes by the name of the input.

    Raises:
        InputError: a text does not have the form NAME=1x3x224x224.
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
    """Refuse shapes that a file does not accept.

    Args:
        path: the file, for the message.
        declared: shapes by the name of the input. A size is None if it is open; a shape is None if
            its rank is unknown.
        given: the shapes that the user gave, by the name of the input.

    Raises:
        InputError: an input does not exist, or a size differs from the file's or is 0.
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
        accepted = "any shape" if known is None else written(known)
        raise InputError(
            f"{path} takes {name} as {accepted}, not {written(shape)}: change --shape {name}."
        )


def written(shape: Sequence[int | None]) -> str:
    """Format a shape for a message, with a question mark for each open size."""
    return "x".join("?" if size is None else str(size) for size in shape) or "a scalar"


def parse_share(text: str, option: str) -> float:
    """Parse a fraction from "5%", "5 %" or "0.05".

    A number of 1 or more needs a percent sign: if "5" were read as 500 %, a gate meant for 5 %
    would let everything pass.

    Args:
        text: the text to parse.
        option: name of the option, for the message.

    Returns:
        The fraction, 0.05 for "5%".

    Raises:
        InputError: the text is not a percentage or fraction, or it is ambiguous.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(%?)", text.strip())
    if match is None:
        raise InputError(f"{option} {text} is not a percentage: give 5% or 0.05.")
    number = float(match[1])
    if match[2]:
        return number / 100
    if number >= 1:
        raise InputError(f"{option} {text} is ambiguous: give {match[1]}% or {number * 100:g}%.")
    return number
