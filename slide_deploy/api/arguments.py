"""What the arguments of the public functions have in common."""

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

# A file or folder by its name.
PathLike = str | os.PathLike[str]
# Whether a progress bar is shown on stderr, or a function that is told of each step.
Progress = bool | Callable[[str], None]
# A side of a square image, or height and width, as numbers or as the command line has it.
Size = int | str | tuple[int, int]

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")
_OPTION = re.compile(r"--([a-z]+(?:-[a-z]+)*)")


def public(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """A function whose errors name its arguments where those of the command line name options.

    "Give --keep-windows" becomes "give `keep_windows`" if the function has an argument of that
    name.
    """
    arguments = signature(function).parameters

    def argument(option: re.Match[str]) -> str:
        name = option[1].replace("-", "_")
        return f"`{name}`" if name in arguments else option[0]

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
    """A path that was given as text or as a path.

    Raises:
        InputError: if it is neither, or empty, which Python takes for the current folder.
    """
    if not isinstance(value, str | os.PathLike):
        raise InputError(f"{argument} is of type {type(value).__name__}: give a path.")
    if not os.fspath(value):
        raise InputError(f"{argument} is empty: give a path.")
    return Path(value)


def paths_of(value: PathLike | Sequence[PathLike], argument: str) -> list[Path]:
    """One path or several as several.

    Raises:
        InputError: if there is none.
    """
    several = [value] if isinstance(value, str | os.PathLike) else value
    found = [path_of(each, argument) for each in several]
    if not found:
        raise InputError(f"{argument} is empty: give the path of a file.")
    return found


def size_of(value: Size | None, argument: str) -> tuple[int, int] | None:
    """Height and width of 224, (512, 768), "224" or "512x768"; None where nothing is given.

    Raises:
        InputError: if it is none of them.
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
    """One text or several as several."""
    return (value,) if isinstance(value, str) else tuple(value)


@contextmanager
def steps(progress: Progress, total: int) -> Iterator[Callable[[str], None]]:
    """What is told of each step as it starts.

    Args:
        progress: as the user wants it.
        total: how many steps there will be.
    """
    from slide_deploy.terminal.progress import Steps

    if callable(progress):
        yield progress
    else:
        with Steps(not progress, total) as step:
            yield step
