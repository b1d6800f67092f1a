"""Conversion of the arguments that several public functions share."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import ParamSpec, TypeVar

from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.tasks.options import missing_extra

# The path of a file or folder.
PathLike = str | os.PathLike[str]
# Whether to show a progress bar on stderr, or a function that is called with each step.
Progress = bool | Callable[[str], None]
# An image size in pixels: the side of a square, (height, width), or text such as "512x768".
Size = int | str | tuple[int, int]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


def public(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Decorate a public function so that its errors name its arguments, not command-line options.

    "Give --keep-windows" becomes "give `keep_windows`" if the function has an argument of that
    name, or of its plural, as `inputs` for --input. A failed import of an optional library becomes
    ``MissingExtra``.
    """
    arguments = signature(function).parameters

    def argument(option: re.Match[str]) -> str:
        name = option[1].replace("-", "_")
        known = next((each for each in (name, f"{name}s") if each in arguments), None)
        return option[0] if known is None else f"`{known}`"

    @wraps(function)
    def called(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        try:
            return function(*args, **kwargs)
        except SlideDeployError as error:
            error.args = (_OPTION.sub(argument, str(error)),)
            raise
        except ModuleNotFoundError as error:
            lacking = missing_extra(error)
            if lacking is None:
                raise
            raise lacking from error

    return called


def path_of(value: PathLike, argument: str) -> Path:
    """Return an argument as a ``Path``.

    Raises:
        InputError: if it is neither text nor a path, or is empty. Python would take an empty path
            for the current folder.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{argument} is of type {type(value).__name__}: give a path.")
    if not os.fspath(value):
        raise InputError(f"{argument} is empty: give a path.")
    return Path(value)


def paths_of(value: PathLike | Sequence[PathLike], argument: str) -> list[Path]:
    """Return one path or several as a list.

    Raises:
        InputError: if the list is empty, or an item is not a path.
    """
    several = [value] if isinstance(value, str | os.PathLike) else value
    found = [path_of(each, argument) for each in several]
    if not found:
        raise InputError(f"{argument} is empty: give the path of a file.")
    return found


def size_of(value: Size | None, argument: str) -> tuple[int, int] | None:
    """Return (height, width) in pixels of 224, (512, 768), "224" or "512x768"; None of None.

    Raises:
        InputError: if the value is not a size.
    """
    from slide_deploy.parsing import parse_size

    if value is None:
        return None
    if isinstance(value, tuple | list):
        text = "x".join(map(str, value)) if len(value) == 2 else str(value)
    else:
        text = str(value)
    return parse_size(text, argument)


def texts_of(value: str | Sequence[str]) -> tuple[str, ...]:
    """Return one text or several as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value)


@contextmanager
def steps(progress: Progress, total: int) -> Iterator[Callable[[str], None]]:
    """Provide the function to call with each step as it starts."""
    from slide_deploy.terminal.progress import Steps

    if callable(progress):
        yield progress
    else:
        with Steps(not progress, total) as step:
            yield step
