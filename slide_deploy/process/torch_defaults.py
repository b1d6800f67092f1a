"""Replace PyTorch's global defaults for a block, so that a caller's settings have no effect."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Compute on the CPU in float32, without autocast and inference mode.

    Within ``torch.autocast`` a network would be traced in bfloat16, and tensors that its
    ``forward`` creates would have the caller's default dtype and device. The state of the random
    number generator is restored at the end. It can also be used as a decorator.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    # The context torch.device intercepts every call of torch, which costs a twentieth of an export.
    elsewhere = torch.get_default_device().type != "cpu"
    try:
        with (
            torch.device("cpu") if elsewhere else nullcontext(),
            torch.autocast("cpu", enabled=False),
            torch.inference_mode(False),
            torch.random.fork_rng(devices=[]),
        ):
            yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def float64_by_default() -> Iterator[None]:
    """Create tensors in float64 by default, the dtype of the network's weights in a proof."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
