"""The targets of OpenVINO: one per device, and whether the device is here."""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

from slide_deploy.backends.base import Availability, Target
from slide_deploy.backends.openvino.intermediates import intermediates
from slide_deploy.backends.openvino.network import SUFFIXES, open_on, target_name, version
from slide_deploy.backends.openvino.profile import profile


@dataclass(frozen=True)
class OpenVINODevice:
    """A device, by OpenVINO's name.

    Attributes:
        name: for example "GPU".
        driver: what to install if OpenVINO does not find the device.
    """

    name: str
    driver: str = ""

    @property
    def target(self) -> Target:
        """Its target."""
        return Target(
            name=target_name(self.name),
            suffixes=SUFFIXES,
            find=self.find,
            open=partial(open_on, self.name),
            intermediates=intermediates if self.name == "CPU" else None,
            profile=partial(profile, self.name),
            processor=self.name == "CPU",
        )

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
        # Several devices of one kind are numbered: GPU.0, GPU.1.
        if self.name not in {device.split(".")[0] for device in present}:
            return Availability(
                False, f"openvino {version()} finds {', '.join(present)} only: {self.driver}"
            )
        full_name = core.get_property(self.name, "FULL_DEVICE_NAME")
        return Availability(True, f"openvino {version()}, {full_name}")


TARGETS = tuple(
    device.target
    for device in (
        OpenVINODevice("CPU", "its plugin is missing, so pip install --force-reinstall openvino"),
        OpenVINODevice(
            "GPU", "apt install intel-opencl-icd, or install Intel's graphics driver on Windows"
        ),
        OpenVINODevice(
            "NPU", "install Intel's NPU driver (github.com/intel/linux-npu-driver on Linux)"
        ),
        OpenVINODevice("AUTO"),
    )
)
