"""The devices of OpenVINO, and whether they are here."""

from dataclasses import dataclass
from importlib.util import find_spec

from slide_deploy.backends.base import Availability
from slide_deploy.backends.openvino.network import target_name, version


@dataclass(frozen=True)
class OpenVINODevice:
    """A device as OpenVINO names it.

    Attributes:
        name: for example "GPU".
        driver: what helps where it is not found.
    """

    name: str
    driver: str = ""

    @property
    def target(self) -> str:
        """Name of its target."""
        return target_name(self.name)

    def find(self) -> Availability:
        """Look for the library and the device."""
        if find_spec("openvino") is None:
            return Availability(
                False, "openvino is not installed: pip install 'slide-deploy[openvino]'"
            )
        import openvino

        core = openvino.Core()
        present = core.available_devices
        if self.name == "AUTO":
            return Availability(True, f"openvino {version()}, one of {', '.join(present)}")
        # Several of a kind are numbered: GPU.0, GPU.1.
        if self.name not in {device.split(".")[0] for device in present}:
            return Availability(
                False, f"openvino {version()} finds {', '.join(present)} only: {self.driver}"
            )
        full_name = core.get_property(self.name, "FULL_DEVICE_NAME")
        return Availability(True, f"openvino {version()}, {full_name}")


DEVICES = (
    OpenVINODevice("CPU", "its plugin is missing, so pip install --force-reinstall openvino"),
    OpenVINODevice(
        "GPU", "apt install intel-opencl-icd, or install Intel's graphics driver on Windows"
    ),
    OpenVINODevice(
        "NPU", "install Intel's NPU driver (github.com/intel/linux-npu-driver on Linux)"
    ),
    OpenVINODevice("AUTO"),
)
