"""Computing in float64 with networks that make tensors of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def in_float64() -> Iterator[None]:
    """Let tensors that a network makes itself be float64, as its weights are."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
