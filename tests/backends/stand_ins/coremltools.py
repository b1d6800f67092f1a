"""Core ML on a Mac that is not here: reads real packages, and checks what it is fed."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import coremltools
import numpy as np
from coremltools.models import MLModel as RealModel
from coremltools.models import compute_device, compute_plan

from tests.backends.stand_ins.misuse import require

_DEVICES = ("MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice")


@dataclass
class Behaviour:
    """How Core ML behaves, and what it was asked.

    Attributes:
        devices: of the Mac.
        planned: the device that the operators are planned for; empty where Core ML does not tell.
        compiles: whether a model can be compiled.
        units: that the last model was given.
        hints: that the last model was given.
        models: how many were loaded.
    """

    devices: tuple[str, ...] = _DEVICES
    planned: str = "MLNeuralEngineComputeDevice"
    compiles: bool = True
    units: Any = None
    hints: dict[str, Any] | None = None
    models: int = 0
    fed: list[dict[str, Any]] = field(default_factory=list)


def install(monkeypatch, behaviour: Behaviour) -> None:
    """Put the stand-ins in place of what coremltools loads on a Mac."""

    class MLModel:
        def __init__(self, model, compute_units, optimization_hints=None):
            require(isinstance(model, str), "a path is a text")
            self.compute_unit = behaviour.units = coremltools.ComputeUnit(compute_units)
            behaviour.hints = optimization_hints
            behaviour.models += 1
            self._spec = RealModel(model, skip_model_load=True).get_spec()

        def get_compiled_model_path(self):
            if not behaviour.compiles:
                raise Exception("This model was not loaded or compiled.")
            return "/compiled.mlmodelc"

        def get_spec(self):
            return self._spec

        def predict(self, data, state=None):
            names = {feature.name for feature in self._spec.description.input}
            require(set(data) == names, f"the inputs are {names}")
            behaviour.fed.append(data)
            return {"y": np.zeros((len(data["x"]), 3))}

    def load_from_path(path, compute_units):
        require(path.endswith(".mlmodelc"), "a plan is of a compiled model")
        require(isinstance(compute_units, coremltools.ComputeUnit), "units are a ComputeUnit")
        if not behaviour.planned:
            raise RuntimeError("needs macOS 14.4")
        block = SimpleNamespace(operations=["const", "matmul", "relu"])
        program = SimpleNamespace(functions={"main": SimpleNamespace(block=block)})
        device = type(behaviour.planned, (), {})()
        usage = SimpleNamespace(preferred_compute_device=device)
        return SimpleNamespace(
            model_structure=SimpleNamespace(program=program),
            get_compute_device_usage_for_mlprogram_operation=lambda operation: (
                None if operation == "const" else usage
            ),
        )

    monkeypatch.setattr(coremltools.models, "MLModel", MLModel)
    monkeypatch.setattr(compute_plan.MLComputePlan, "load_from_path", load_from_path)
    monkeypatch.setattr(
        compute_device.MLComputeDevice,
        "get_all_compute_devices",
        lambda: [type(name, (), {})() for name in behaviour.devices],
    )
