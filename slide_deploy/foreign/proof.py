"""Prove a reading of a layer: both are run on random inputs in float64 and compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from slide_deploy.folding.formulas import difference
from slide_deploy.foreign.calls import AttentionCall
from slide_deploy.models.slide_attention import FoldedSlideAttention, SlideAttentionBase
from slide_deploy.process.torch_defaults import float64_by_default

_NARROWER = (torch.float32, torch.float16, torch.bfloat16)
_CASTS = (Tensor.float, Tensor.half, Tensor.bfloat16)


@dataclass(frozen=True)
class Reading:
    """A folded slide attention that may equal a layer, and what was read of the layer's branches.

    Attributes:
        folded: the attention, in float64, on the CPU, with the layout "tokens".
        branches: names of the modules or parameters that hold the neighbourhood kernels.
        added: whether any branches are added to each other, so that there is something to fold.
        shift_distance: largest difference between the kernel nearest to a shift and a pure shift;
            None if no branch is a convolution of its own.
        shift_bias: largest absolute bias of that kernel; None likewise.
        position_bias: largest absolute value of the bias table, 0 without a table; None if a table
            cannot be told apart from other biases.
        scale: factor on the logits; None if it cannot be told apart from the weights.
    """

    folded: FoldedSlideAttention
    branches: tuple[str, ...]
    added: bool
    shift_distance: float | None
    shift_bias: float | None
    position_bias: float | None = None
    scale: float | None = None


class ReadingProof:
    """The outputs of a layer on random inputs, to compare readings with.

    Args:
        layer: layer in float64, on the CPU.
        call: how the layer is called.
        channels: number of channels, C.
        kernel_size: side of the neighbourhood.
    """

    def __init__(
        self, layer: nn.Module, call: AttentionCall, channels: int, kernel_size: int
    ) -> None:
        self.radius = kernel_size // 2
        generator = torch.Generator().manual_seed(0)
        # The second input also has larger numbers, so that limits on large logits take effect.
        self.inputs = [
            factor**3 * torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)
            for factor, size in enumerate(call.sizes(kernel_size, channels), 1)
        ]
        with in_float64():
            self.expected = [call.run(layer, nchw) for nchw in self.inputs]

    @property
    def finite(self) -> bool:
        """Whether all outputs of the layer are finite."""
        return all(bool(output.isfinite().all()) for output in self.expected)

    @torch.no_grad()
    def differences(self, attention: SlideAttentionBase) -> tuple[float, float]:
        """Compare an attention with the layer, everywhere and in the interior of the feature maps.

        Args:
            attention: attention in float64, on the CPU.

        Returns:
            The two largest differences, divided by the largest output if that exceeds 1; infinity
            if an output is NaN or infinite.
        """
        everywhere = interior = 0.0
        for nchw, expected in zip(self.inputs, self.expected, strict=True):
            height, width = nchw.shape[2:]
            tokens = attention.attend(nchw.flatten(2).transpose(1, 2), height, width)
            output = tokens.transpose(1, 2).reshape(nchw.shape)
            rows, columns = (slice(self.radius, side - self.radius) for side in (height, width))
            inside = (..., rows, columns)
            everywhere = max(everywhere, difference(output, expected))
            interior = max(interior, difference(output[inside], expected[inside]))
        return everywhere, interior


@contextmanager
def in_float64() -> Iterator[None]:
    """Make a layer with float64 weights compute in float64 throughout, without gradients.

    New tensors are float64. Casts to a narrower type give float64 too, for example around the
    softmax of a half-precision network.
    """
    with float64_by_default(), torch.no_grad(), _CastsToFloat64():
        yield


class _CastsToFloat64(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in _CASTS:
            return args[0].double()
        named = {name: _widened(item) for name, item in (kwargs or {}).items()}
        return func(*map(_widened, args), **named)


def _widened(item: Any) -> Any:
    return torch.float64 if isinstance(item, torch.dtype) and item in _NARROWER else item
