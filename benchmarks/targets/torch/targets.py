"""The targets of PyTorch."""

from functools import partial

from benchmarks.targets.base import Target
from benchmarks.targets.torch.device import Device
from benchmarks.targets.torch.model import SUFFIXES
from benchmarks.targets.torch.profile import profile
from benchmarks.targets.torch.run import load


def _target(device: Device) -> Target:
    return Target(
        name=device.target,
        suffixes=SUFFIXES,
        find=device.find,
        load=partial(load, device),
        # The profiler of torch does not see what runs on Apple's GPU.
        profile=None if device.kind == "mps" else partial(profile, device),
        processor=device.kind == "cpu",
    )


TARGETS = tuple(
    _target(Device(kind, compiled)) for compiled in (False, True) for kind in ("cpu", "cuda", "mps")
)
