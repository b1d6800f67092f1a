"""The record of an execution provider of ONNX Runtime, and whether it is available here."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from slide_deploy.backends.base import Availability, Configuration

_PLATFORMS = {"darwin": "macOS", "win32": "Windows", "linux": "Linux"}


@dataclass(frozen=True)
class Provider:
    """An execution provider and how it is used.

    Attributes:
        name: the part of the target's name after the colon.
        library_name: its name in ONNX Runtime, for example "CUDAExecutionProvider".
        package: the distribution of ONNX Runtime that contains it.
        options: returns the provider's options for a configuration.
        option_names: options that a user may set.
        precisions: that a configuration may name. Most providers compute in the file's types.
        device: where inputs and outputs are allocated, by ONNX Runtime's name.
        platforms: values of ``sys.platform`` that have it; empty for all.
        helpers: returns names and options of other providers, apart from the CPU, that run the
            nodes which this one does not take.
        hardware: returns why there is no device for it, or None if there is one. The field is None
            if that cannot be determined in advance.
        optimise: whether ONNX Runtime's own optimiser runs first.
        memory_pattern: whether memory is planned in advance.
        concurrent: whether one session may run several calls at a time.
        profiled: whether it waits for each operator, so that a profile shows true times.
    """

    name: str
    library_name: str
    package: str = "onnxruntime"
    options: Callable[[Configuration], dict[str, str]] = lambda _: {}
    option_names: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("float32", "default")
    device: str = "cpu"
    platforms: tuple[str, ...] = ()
    helpers: Callable[[Configuration], list[tuple[str, dict[str, str]]]] = lambda _: []
    hardware: Callable[[], str | None] | None = None
    optimise: bool = True
    memory_pattern: bool = True
    concurrent: bool = True
    profiled: bool = True

    @property
    def target(self) -> str:
        """Name of its target."""
        return f"onnxruntime:{self.name}"

    def find(self) -> Availability:
        """Look for the library, the provider and its device."""
        reason = self.missing()
        if reason is not None:
            return Availability(False, reason)
        import onnxruntime

        return Availability(True, f"onnxruntime {onnxruntime.__version__}, {self.library_name}")

    def missing(self) -> str | None:
        """Return why it cannot run here and what would help, or None if it can."""
        if self.platforms and sys.platform not in self.platforms:
            return f"needs {' or '.join(_PLATFORMS[name] for name in self.platforms)}"
        if find_spec("onnxruntime") is None:
            return f"onnxruntime is not installed: pip install {self.package}"
        import onnxruntime

        if self.library_name not in onnxruntime.get_available_providers():
            # All distributions use the same import name, so the last one installed is imported.
            return (
                f"onnxruntime {onnxruntime.__version__} was built without {self.library_name}: "
                f"pip uninstall -y onnxruntime && pip install {self.package}"
            )
        return self.hardware() if self.hardware else None
