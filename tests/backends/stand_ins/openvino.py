"""OpenVINO with a GPU and an NPU; the processor computes in their place.

A property that a device does not have is a `Misuse`.
"""

from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import openvino as real

from tests.backends.stand_ins.misuse import require

# What may be set, as docs.openvino.ai lists it for each device.
PROPERTIES = {
    "GPU": {
        "PERFORMANCE_HINT",
        "NUM_STREAMS",
        "INFERENCE_PRECISION_HINT",
        "EXECUTION_MODE_HINT",
        "PERF_COUNT",
        "CACHE_DIR",
        "MODEL_PRIORITY",
        "GPU_QUEUE_PRIORITY",
        "COMPILATION_NUM_THREADS",
    },
    "NPU": {"PERFORMANCE_HINT", "INFERENCE_PRECISION_HINT", "PERF_COUNT", "CACHE_DIR", "NPU_TURBO"},
}


@dataclass
class Behaviour:
    """How the runtime behaves, and what it was asked.

    Attributes:
        devices: that it finds.
        used: the device that it compiles for; empty for the one that was asked for.
        precision: that it computes in; empty for the one that was asked for.
        properties: of the last compiled model.
    """

    devices: tuple[str, ...] = ("CPU", "GPU", "NPU")
    used: str = ""
    precision: str = ""
    properties: dict[str, Any] = field(default_factory=dict)


def module(behaviour: Behaviour) -> ModuleType:
    """A stand-in for the library."""

    class Compiled:
        def __init__(self, inner, device, properties):
            self.inner, self.device, self.properties = inner, device, properties
            self.inputs, self.outputs = inner.inputs, inner.outputs

        def create_infer_request(self):
            return self.inner.create_infer_request()

        def get_property(self, name):
            told = {"EXECUTION_DEVICES": [behaviour.used or self.device]}
            hint = behaviour.precision or self.properties.get("INFERENCE_PRECISION_HINT")
            if hint:
                told["INFERENCE_PRECISION_HINT"] = getattr(real.Type, hint)
            told["PERFORMANCE_HINT"] = self.properties["PERFORMANCE_HINT"]
            if name == "SUPPORTED_PROPERTIES":
                return dict.fromkeys(told, "RO")
            return told[name]

    class Core:
        def __init__(self):
            self.inner = real.Core()
            self.available_devices = list(behaviour.devices)

        def get_property(self, device, name):
            require(device in behaviour.devices, f"no device {device}")
            if name == "FULL_DEVICE_NAME":
                return f"Stand-in {device}"
            require(name == "SUPPORTED_PROPERTIES", f"no property {name}")
            return dict.fromkeys(PROPERTIES[device], "RW") | {"FULL_DEVICE_NAME": "RO"}

        def read_model(self, model):
            return self.inner.read_model(model)

        def compile_model(self, model, device_name, config):
            require(set(config) <= PROPERTIES[device_name], f"it lacks one of {set(config)}")
            if device_name == "NPU":
                hint = config.get("INFERENCE_PRECISION_HINT", "f16")
                require(hint == "f16", f"the NPU does not compute in {hint}")
                require(not model.is_dynamic(), "the NPU takes fixed shapes")
            behaviour.properties = config
            counted = {"PERF_COUNT": config.get("PERF_COUNT", "NO")}
            inner = self.inner.compile_model(model, "CPU", counted)
            return Compiled(inner, device_name, config)

    stand_in = ModuleType("openvino")
    stand_in.__spec__ = real.__spec__
    stand_in.__version__ = "0.stand-in-build"
    stand_in.Core, stand_in.Tensor = Core, real.Tensor
    stand_in.PartialShape = real.PartialShape
    return stand_in
