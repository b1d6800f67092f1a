"""A file, opened on the runtime that runs it; ``slide_deploy.formats`` names the runtimes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from slide_deploy.errors import MissingExtra
from slide_deploy.formats import Runtime, format_of
from slide_deploy.model_files import require_model_file
from slide_deploy.backends.base import Feeds, Session


def runtime_for(path: Path) -> Runtime:
    """The runtime that runs a file here; the first of its format that is not missing.

    Raises:
        InputError: if no runtime runs files of that kind.
        MissingExtra: if its library is not installed.
    """
    runtimes = format_of(path).runtimes
    for runtime in runtimes:
        if runtime.missing() is None:
            return runtime
    raise MissingExtra(runtimes[-1].package, runtimes[-1].extra)


def open_on(runtime: Runtime, path: Path, precision: str = "float32") -> Session:
    """Load a file on one runtime.

    Args:
        runtime: one that runs its kind.
        path: of the file.
        precision: of the file: the runtime computes in it where it can be told so.

    Raises:
        MissingExtra: if the runtime's library is not installed.
        InputError: if the file cannot be loaded.
    """
    load: Callable[..., Session] = runtime.load_module().load
    return load(path, precision) if precision in runtime.arithmetic else load(path)


def values_of(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every value that a file computes for these inputs, as the file is written, by name.

    The last runtime of the format runs it: Core ML keeps its inner values to itself, so that
    packages are always run by the interpreter.

    Raises:
        InputError: if the file is missing, of an unknown kind or cannot be run.
    """
    runtime = format_of(path).runtimes[-1]
    require_model_file(path)
    inner: Callable[[Path, Feeds], dict[str, np.ndarray]] = runtime.load_module().inner_values
    return inner(path, feeds)


def open_file(path: Path, precision: str = "float32") -> Session:
    """Load a file on the runtime that runs it here.

    Args:
        path: of the file.
        precision: of the file: the runtime computes in it where it can be told so.

    Raises:
        InputError: if it is missing, of an unknown kind or cannot be loaded.
    """
    runtime = runtime_for(path)
    require_model_file(path)
    return open_on(runtime, path, precision)
