"""Strides, dilations and padding of convolutions and pooling.

Along one axis of size D with kernel K, stride s and dilation d, the dilated kernel is ``E = (K - 1)
d + 1``. ``valid`` has no padding, and ``custom`` has the given padding. ``same`` has a total
padding of ``max(0, (ceil(D / s) - 1) s + E - D)``, half of it before; an odd element is added
after, or before with ``same_lower``.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import OperatorCall

# torch 2.13 crashes on transposed convolutions with strides from 32767; no model needs this much.
MAX_STEP = 4096


@dataclass(frozen=True, slots=True)
class Windows:
    """Kernel size, stride and dilation along each spatial axis.

    Attributes:
        kernel: sizes of the kernel.
        strides: steps from one window to the next.
        dilations: steps from one element of a window to the next.
    """

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.kernel)

    @property
    def extents(self) -> tuple[int, ...]:
        """Sizes of the dilated kernel, E above."""
        return tuple(
            (size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True)
        )

    def same_totals(self, sizes: Sequence[int]) -> list[int]:
        """Return the total padding of ``same`` on each axis of a feature map of these sizes."""
        return [
            max(0, (-(-size // stride) - 1) * stride + extent - size)
            for size, stride, extent in zip(sizes, self.strides, self.extents, strict=True)
        ]

    def outputs(self, sizes: Sequence[int]) -> list[int]:
        """Return how many windows fit into a padded feature map of these sizes."""
        return [
            (size - extent) // stride + 1
            for size, stride, extent in zip(sizes, self.strides, self.extents, strict=True)
        ]


def read_windows(call: OperatorCall, kernel: Sequence[int], rank: int) -> Windows:
    """Read the windows of a call on ``rank`` spatial axes.

    Raises:
        InputError: if sizes, strides or dilations are missing, below 1 or above `MAX_STEP`.
    """
    if not 1 <= rank <= 3:
        raise call.faulty(f"needs one to three spatial axes, not {rank}")
    strides = call.integers("strides", [1] * rank)
    dilations = call.integers("dilations", [1] * rank)
    for name, values in (("kernel", kernel), ("strides", strides), ("dilations", dilations)):
        if len(values) != rank or min(values) < 1 or max(values) > MAX_STEP:
            raise call.faulty(f"has {name} {list(values)} for {rank} spatial axes")
    return Windows(tuple(kernel), tuple(strides), tuple(dilations))


def read_padding(
    call: OperatorCall, windows: Windows, sizes: Sequence[int]
) -> list[tuple[int, int]]:
    """Return the padding before and after each spatial axis of a feature map of these sizes."""
    kind = call.text("pad_type", "valid")
    if kind == "valid":
        return [(0, 0)] * windows.rank
    if kind == "custom":
        flat = call.integers("pad", [0] * (2 * windows.rank))
        if len(flat) != 2 * windows.rank or min(flat) < 0:
            raise call.faulty(f"has pad {flat} for {windows.rank} spatial axes")
        return list(zip(flat[::2], flat[1::2], strict=True))
    if kind == "same":
        return [(total // 2, total - total // 2) for total in windows.same_totals(sizes)]
    if kind == "same_lower":
        return [(total - total // 2, total // 2) for total in windows.same_totals(sizes)]
    raise call.unsupported(f"pad_type {kind}")


def pad_constant(
    call: OperatorCall, x: Tensor, padding: Sequence[tuple[int, int]], value: float
) -> Tensor:
    """Add constant padding before and after the last axes; one pair per axis, in their order."""
    first = x.dim() - len(padding)
    padded = [
        size + before + after
        for size, (before, after) in zip(x.shape[first:], padding, strict=True)
    ]
    call.check_size((*x.shape[:first], *padded))
    # torch lists the last axis first.
    flat = [amount for pair in reversed(padding) for amount in pair]
    return torch.nn.functional.pad(x, flat, value=value)
