"""An image's height and width, and a number for each stage, as options and suites write them."""

import re

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
