"""What torch takes by default: a caller's choice stays out of our work; proofs choose float64."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def torch_defaults() -> Iterator[None]:
    """Compute on the CPU, in float32, without autocast and inference mode; random numbers return.

    Within ``torch.autocast`` a network would be traced in bfloat16, and with another default type
    or device what it makes in its ``forward`` would be of that one. It is a decorator as well.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    # Python would look at every call of torch: a twentieth of an export.
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
    """Let tensors that a network makes itself be float64, as its weights are in a proof."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
