"""The targets of PyTorch."""

from functools import partial

from slide_deploy.backends.base import Target
from slide_deploy.backends.torch.device import TorchDevice
from slide_deploy.backends.torch.model import SUFFIXES
from slide_deploy.backends.torch.profile import profile
from slide_deploy.backends.torch.run import open_on


def _target(device: TorchDevice) -> Target:
    return Target(
        name=device.target,
        suffixes=SUFFIXES,
        find=device.find,
        open=partial(open_on, device),
        # The profiler of torch does not see what runs on Apple's GPU.
        profile=None if device.kind == "mps" else partial(profile, device),
        processor=device.kind == "cpu",
    )


TARGETS = tuple(
    _target(TorchDevice(kind, compiled))
    for compiled in (False, True)
    for kind in ("cpu", "cuda", "mps")
)
