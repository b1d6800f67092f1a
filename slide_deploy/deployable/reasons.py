"""An exception of the user's own code as part of a sentence."""

import sysconfig
import traceback
from pathlib import Path

_OWN = Path(__file__).parents[1]
_LONGEST = 200


def reason_of(error: BaseException) -> str:
    """The type of an exception, what it says and the last line of the user's code on its way.

    "ValueError: dim must be even, net.py:12". The line is left out where the user's code did not
    take part.
    """
    place = _place(error)
    said = f"{type(error).__name__}: {text}" if (text := text_of(error)) else type(error).__name__
    return f"{said}, {place}" if place else said


def text_of(error: BaseException) -> str:
    """What an exception says, in one line; empty where it says nothing."""
    if isinstance(error, SyntaxError):
        return error.msg
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A line that ends in a colon announces the one that says more, as load_state_dict's first does.
    text = " ".join(lines[:2]) if lines and lines[0].endswith(":") else "".join(lines[:1])
    return text[:_LONGEST].rstrip(".")


def _place(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename)}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_users(frame.filename)]
    return f"{_short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def is_users(file: str) -> bool:
    """Whether a file of Python code is neither part of this project nor installed."""
    path = Path(file)
    if file.startswith("<") or path.is_relative_to(_OWN):
        return False
    if any(path.is_relative_to(_OWN.parent / name) for name in ("exporters", "benchmarks")):
        return False
    if {"site-packages", "dist-packages"} & set(path.parts):
        return False
    return not path.is_relative_to(sysconfig.get_path("stdlib"))


def _short(file: str) -> str:
    """A path from the current folder, where it is inside."""
    path = Path(file)
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
