"""Each target with the files and the machine, real or not, that its tests need."""

import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from slide_deploy.backends.base import Target
from slide_deploy.backends.registry import target_named
from tests.backends import files

REAL = (
    *("onnxruntime:cpu", "onnxruntime:rounded", "openvino:cpu", "openvino:auto"),
    *("mil-interpreter:cpu", "executorch:xnnpack", "torch:cpu", "torch:cpu-compiled"),
    *("litert:cpu", "litert:reference"),
)
LIBRARIES = {
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "coreml": "coremltools",
    "mil-interpreter": "coremltools",
    "executorch": "executorch",
    "torch": "torch",
    "litert": "ai_edge_litert",
}
_PLATFORMS = {"onnxruntime:coreml": "darwin", "onnxruntime:directml": "win32"}


@dataclass(frozen=True)
class Case:
    """A target under test.

    Attributes:
        target: of the registry.
        library: that it needs, as Python imports it.
        written: where the small files are.
        behaviour: of the stand-in; None for the real library.
    """

    target: Target
    library: str
    written: Path
    behaviour: Any = None

    @property
    def version(self) -> str:
        """Of the library, or of its stand-in; LiteRT knows it as a package alone."""
        own = getattr(sys.modules[self.library], "__version__", None)
        return str(own) if own else version(self.library.replace("_", "-"))

    def make_file(self, folder: Path, batch: int | None) -> Path:
        """A small file that the target runs, in a folder where it may be damaged."""
        return files.copied(self.written, self.target.name.split(":")[0], batch, folder)

    @property
    def settings(self) -> dict[str, Any]:
        """What a configuration must say for this target, beyond the defaults."""
        return {"precision": "float16"} if self.target.name == "openvino:npu" else {}


def case_of(name: str, written: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The case of a target; a stand-in takes the place of what this machine lacks."""
    runtime = name.split(":")[0]
    install = None if name in REAL else _INSTALL[runtime]
    behaviour = install(monkeypatch, name) if install else None
    return Case(target_named(name), LIBRARIES[runtime], written, behaviour)


def pretend_platform(monkeypatch: pytest.MonkeyPatch, module: str, platform: str) -> None:
    """Let one module believe that it runs elsewhere."""
    monkeypatch.setattr(f"{module}.sys", SimpleNamespace(platform=platform))


def _onnxruntime(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    from tests.backends.stand_ins import onnxruntime

    behaviour = onnxruntime.Behaviour()
    monkeypatch.setitem(sys.modules, "onnxruntime", onnxruntime.module(behaviour))
    monkeypatch.setattr(
        "slide_deploy.backends.onnxruntime.providers.ctypes", onnxruntime.driver(gpus=1)
    )
    platform = _PLATFORMS.get(name, "linux")
    pretend_platform(monkeypatch, "slide_deploy.backends.onnxruntime.provider", platform)
    return behaviour


def _openvino(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    from tests.backends.stand_ins import openvino

    behaviour = openvino.Behaviour()
    monkeypatch.setitem(sys.modules, "openvino", openvino.module(behaviour))
    return behaviour


def _coreml(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    from tests.backends.stand_ins import coremltools

    planned = "MLGPUComputeDevice" if name == "coreml:gpu" else "MLNeuralEngineComputeDevice"
    behaviour = coremltools.Behaviour(planned=planned)
    coremltools.install(monkeypatch, behaviour)
    pretend_platform(monkeypatch, "slide_deploy.backends.coreml.units", "darwin")
    return behaviour


def _executorch(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The real library, as if it had every delegate; files of the tests run on its own kernels."""
    every = ["CoreMLBackend", "VulkanBackend", "XnnpackBackend"]
    monkeypatch.setattr("slide_deploy.backends.executorch.delegates._registered", lambda: every)
    pretend_platform(monkeypatch, "slide_deploy.backends.executorch.delegates", "darwin")


def _torch(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    from tests.backends.stand_ins import torch

    behaviour = torch.Behaviour()
    torch.install(monkeypatch, behaviour)
    pretend_platform(monkeypatch, "slide_deploy.backends.torch.device", "darwin")
    _pretend_triton(monkeypatch)
    return behaviour


def _pretend_triton(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.util import find_spec

    monkeypatch.setattr(
        "slide_deploy.backends.torch.device.find_spec",
        lambda name: object() if name == "triton" else find_spec(name),
    )


def _litert(monkeypatch: pytest.MonkeyPatch, name: str) -> Any:
    from tests.backends.stand_ins import litert

    return litert.install(monkeypatch, name)


_INSTALL = {
    "litert": _litert,
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
    "coreml": _coreml,
    "executorch": _executorch,
    "torch": _torch,
}
