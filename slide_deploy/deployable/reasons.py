"""Describe an exception of the user's code as part of a sentence."""

import sysconfig
import traceback
from pathlib import Path

_OWN = Path(__file__).parents[1]
_LONGEST = 200


def reason_of(error: BaseException) -> str:
    """Return the type and message of an exception, and the last line of the user's code.

    For example "ValueError: dim must be even, net.py:12". The line is omitted if the user's code
    is not in the traceback.
    """
    place = _place(error)
    kind, text = type(error).__name__, text_of(error)
    described = f"{kind}: {text}" if text else kind
    return f"{described}, {place}" if place else described


def text_of(error: BaseException) -> str:
    """Return the message of an exception in one line; empty without a message."""
    if isinstance(error, SyntaxError):
        return error.msg
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A first line that ends in a colon introduces the next one, as in load_state_dict's errors.
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return text[:_LONGEST].rstrip(".")


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_users(frame.filename)]
    return f"{_short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def is_users(file: str) -> bool:
    """Whether a Python file is neither part of this project nor installed."""
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(_OWN):
        return False
    if any(path.is_relative_to(_OWN.parent / name) for name in ("exporters", "benchmarks")):
        return False
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not path.is_relative_to(sysconfig.get_path("stdlib"))


def _short(file: str) -> str:
    """Return a path relative to the current folder if it is inside."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
