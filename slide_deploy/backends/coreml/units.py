"""The compute units of Core ML, and whether they are available here."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec

from slide_deploy.backends.base import Availability


@dataclass(frozen=True)
class Units:
    """Devices that Core ML may use. The CPU is always included, and runs what the others cannot.

    Attributes:
        name: the part of the target's name after the colon.
        member: of ``coremltools.ComputeUnit``.
        device: class of ``coremltools.models.compute_device`` that must be used; empty for any.
        hardware: name of that device in messages.
    """

    name: str
    member: str
    device: str = ""
    hardware: str = ""

    @property
    def target(self) -> str:
        """Name of its target."""
        return f"coreml:{self.name}"

    def find(self) -> Availability:
        """Look for the library and the hardware."""
        reason = self.missing()
        if reason is not None:
            return Availability(False, reason)
        import coremltools

        return Availability(True, f"coremltools {coremltools.__version__}, {self.member}")

    def missing(self) -> str | None:
        """Return why they cannot be used here and what would help, or None if they can."""
        if sys.platform != "darwin":
            return "needs macOS"
        if find_spec("coremltools") is None:
            return "coremltools is not installed: pip install 'slide-deploy[coreml]'"
        if self.device and self.device not in _devices():
            return f"this Mac has no {self.hardware} that Core ML can use"
        return None


def _devices() -> set[str]:
    from coremltools.models.compute_device import MLComputeDevice

    return {type(device).__name__ for device in MLComputeDevice.get_all_compute_devices()}


UNITS = (
    Units("all", "ALL"),
    Units("cpu", "CPU_ONLY"),
    Units("gpu", "CPU_AND_GPU", "MLGPUComputeDevice", "GPU"),
    Units("ane", "CPU_AND_NE", "MLNeuralEngineComputeDevice", "Neural Engine"),
)
