"""Which runtime runs which file."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np

from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.model_files import require_model_file
from slide_deploy.runtimes.base import Feeds, Session


@dataclass(frozen=True)
class Runtime:
    """A runtime that this project can drive.

    Args:
        name: as the user sees it.
        suffix: of the files that it runs.
        package: the library, as Python imports it.
        extra: the extra of slide-deploy that brings the library.
        platform: the ``sys.platform`` that it needs; None for any.
    """

    name: str
    suffix: str
    package: str
    extra: str
    platform: str | None = None

    def missing(self) -> str | None:
        """Why it cannot run here, with what would help; None if it can."""
        if self.platform is not None and sys.platform != self.platform:
            return "needs macOS"
        if find_spec(self.package) is None:
            return f"pip install 'slide-deploy[{self.extra}]'"
        return None

    def open(self, path: Path) -> Session:
        """Load a file.

        Raises:
            MissingExtra: if the runtime's library is not installed.
            InputError: if the file cannot be loaded.
        """
        load: Callable[[Path], Session] = self.module().load
        return load(path)

    def module(self) -> ModuleType:
        """The module that drives it; MissingExtra if its library is not installed."""
        if find_spec(self.package) is None:
            raise MissingExtra(self.package, self.extra)
        return import_module(f"slide_deploy.runtimes.{self.name.replace('-', '_')}")


# Where two run the same files, the first that is not missing is taken.
RUNTIMES = (
    Runtime("onnxruntime", ".onnx", "onnxruntime", "onnx"),
    Runtime("openvino", ".xml", "openvino", "openvino"),
    Runtime("coreml", ".mlpackage", "coremltools", "coreml", platform="darwin"),
    Runtime("mil-interpreter", ".mlpackage", "coremltools", "coreml"),
)


def runtime_for(path: Path) -> Runtime:
    """The runtime that runs a file here.

    Raises:
        InputError: if no runtime runs files of that kind.
        MissingExtra: if its library is not installed.
    """
    candidates = [runtime for runtime in RUNTIMES if runtime.suffix == path.suffix]
    if not candidates:
        known = ", ".join(dict.fromkeys(runtime.suffix for runtime in RUNTIMES))
        raise InputError(f"{path} is of no known kind: give a file that ends in one of {known}.")
    for runtime in candidates:
        if runtime.missing() is None:
            return runtime
    raise MissingExtra(candidates[-1].package, candidates[-1].extra)


def values_of(path: Path, feeds: Feeds) -> dict[str, np.ndarray]:
    """Every value that a file computes for these inputs, as the file is written, by name.

    Core ML keeps its inner values to itself, so that packages are always run by the interpreter.

    Raises:
        InputError: if the file is missing, of an unknown kind or cannot be run.
    """
    runtime = [runtime for runtime in RUNTIMES if runtime.suffix == runtime_for(path).suffix][-1]
    require_model_file(path)
    inner: Callable[[Path, Feeds], dict[str, np.ndarray]] = runtime.module().inner_values
    return inner(path, feeds)


def open_file(path: Path) -> Session:
    """Load a file on the runtime that runs it here.

    Raises:
        InputError: if it is missing, of an unknown kind or cannot be loaded.
    """
    runtime = runtime_for(path)
    require_model_file(path)
    return runtime.open(path)
