"""What tells one execution provider of ONNX Runtime from another, and whether it is here."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from slide_deploy.backends.base import Availability, Configuration

_PLATFORMS = {"darwin": "macOS", "win32": "Windows", "linux": "Linux"}


def _no_options(configuration: Configuration) -> dict[str, str]:
    return {}


@dataclass(frozen=True)
class Provider:
    """An execution provider and how it is driven.

    Attributes:
        name: the part of the target's name after the colon.
        library_name: as ONNX Runtime calls it, for example "CUDAExecutionProvider".
        package: the distribution of ONNX Runtime that has it.
        options: for the provider, from a configuration.
        option_names: that a user may set.
        precisions: that can be asked for. Most providers compute in the types that the file holds.
        device: where inputs and outputs live, as ONNX Runtime calls it.
        platforms: values of ``sys.platform`` where it exists; empty for all.
        helpers: names and options of providers that take what this one leaves, the CPU apart.
        hardware: why there is no device for it, else None; None if nobody can tell beforehand.
        optimise: whether ONNX Runtime's own optimiser runs first.
        memory_pattern: whether memory is planned ahead.
        concurrent: whether one session may run several calls at a time.
        profiled: whether it waits for each operator, so that a profile tells the truth.
    """

    name: str
    library_name: str
    package: str = "onnxruntime"
    options: Callable[[Configuration], dict[str, str]] = _no_options
    option_names: tuple[str, ...] = ()
    precisions: tuple[str, ...] = ("float32", "default")
    device: str = "cpu"
    platforms: tuple[str, ...] = ()
    helpers: Callable[[Configuration], list[tuple[str, dict[str, str]]]] | None = None
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
        """Why it cannot run here, with what would help; None if it can."""
        if self.platforms and sys.platform not in self.platforms:
            return f"needs {' or '.join(_PLATFORMS[name] for name in self.platforms)}"
        if find_spec("onnxruntime") is None:
            return f"onnxruntime is not installed: pip install {self.package}"
        import onnxruntime

        if self.library_name not in onnxruntime.get_available_providers():
            # The distributions share one import name: whichever was installed last wins.
            return (
                f"onnxruntime {onnxruntime.__version__} was built without {self.library_name}: "
                f"pip uninstall -y onnxruntime && pip install {self.package}"
            )
        return self.hardware() if self.hardware else None
