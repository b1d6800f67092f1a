"""PyTorch with a GPU of NVIDIA's and one of Apple's; the processor computes in their place."""

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import torch.export.passes

from tests.backends.stand_ins.misuse import require


@dataclass
class Behaviour:
    """What was asked of the devices.

    Attributes:
        pending: calls that nobody waited for.
        streams: that were made.
        compiled: models that were handed to the compiler.
    """

    pending: int = 0
    streams: int = 0
    compiled: int = 0


def install(monkeypatch, behaviour: Behaviour) -> None:
    """Put the stand-ins in place of what a build with these devices has."""
    _redirect(monkeypatch, torch.Tensor)
    _redirect(monkeypatch, torch.nn.Module)
    monkeypatch.setattr(
        torch.export.passes, "move_to_device_pass", lambda program, device: _known(program, device)
    )

    class Stream:
        def __init__(self):
            behaviour.streams += 1

        def wait_stream(self, stream):
            require(isinstance(stream, Stream), "it waits for a stream")

        def synchronize(self):
            behaviour.pending = 0

    @contextmanager
    def stream(queue):
        require(isinstance(queue, Stream), "it computes in a stream")
        yield
        behaviour.pending += 1

    def compile_(model, *, dynamic, mode="default", backend="inductor"):
        require(dynamic is False, "shapes are fixed")
        behaviour.compiled += 1
        return model

    def synchronize():
        behaviour.pending = 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Stand-in GPU")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "synchronize", synchronize)
    monkeypatch.setattr(torch, "compile", compile_)
    # Written by the targets: put back after the test.
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    settings = SimpleNamespace(fp32_precision="none"), SimpleNamespace(fp32_precision="tf32")
    monkeypatch.setattr(torch.backends.cuda, "matmul", settings[0])
    monkeypatch.setattr(torch.backends.cudnn, "conv", settings[1])


def _redirect(monkeypatch, kind) -> None:
    original = kind.to

    def to(self, device=None, dtype=None, **others):
        if device in ("cuda", "mps"):
            device = "cpu"
        return original(self, device=device, dtype=dtype, **others)

    monkeypatch.setattr(kind, "to", to)


def _known(program, device):
    require(device in ("cuda", "mps"), f"no device {device}")
    return program
