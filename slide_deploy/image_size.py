"""An image's height and width, as options and suites write them."""

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
