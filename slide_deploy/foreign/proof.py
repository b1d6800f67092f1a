"""What decides whether a layer is a slide attention: both answer random maps, in float64."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from slide_deploy.folding.formulas import difference
from slide_deploy.foreign.calls import AttentionCall
from slide_deploy.models.slide_attention import SlideAttentionBase
from slide_deploy.process.torch_defaults import float64_by_default

_NARROWER = (torch.float32, torch.float16, torch.bfloat16)
_CASTS = (Tensor.float, Tensor.half, Tensor.bfloat16)


class ReadingProof:
    """What a layer answers to random maps with an interior and every border, in float64.

    Args:
        layer: in float64, on the CPU.
        call: how it is called.
        channels: C.
        kernel_size: side of the neighbourhood.
    """

    def __init__(
        self, layer: nn.Module, call: AttentionCall, channels: int, kernel_size: int
    ) -> None:
        self.radius = kernel_size // 2
        generator = torch.Generator().manual_seed(0)
        # The second map is larger, in numbers too: limits that only some logits reach are seen.
        self.maps = [
            factor**3 * torch.randn(2, channels, *size, dtype=torch.float64, generator=generator)
            for factor, size in enumerate(call.sizes(kernel_size, channels), 1)
        ]
        with in_float64():
            self.expected = [call.answer(layer, maps) for maps in self.maps]

    @property
    def finite(self) -> bool:
        """Whether the layer answers numbers only."""
        return all(bool(answer.isfinite().all()) for answer in self.expected)

    @torch.no_grad()
    def differences(self, attention: SlideAttentionBase) -> tuple[float, float]:
        """How far an attention is from the layer, anywhere and in the interior of the maps.

        Args:
            attention: in float64, on the CPU.

        Returns:
            Absolute, or over the largest output where that exceeds 1; infinity where either is
            NaN or infinity.
        """
        everywhere = interior = 0.0
        for maps, expected in zip(self.maps, self.expected, strict=True):
            height, width = maps.shape[2:]
            tokens = attention.attend(maps.flatten(2).transpose(1, 2), height, width)
            answer = tokens.transpose(1, 2).reshape(maps.shape)
            rows, columns = (slice(self.radius, side - self.radius) for side in (height, width))
            inside = (..., rows, columns)
            everywhere = max(everywhere, difference(answer, expected))
            interior = max(interior, difference(answer[inside], expected[inside]))
        return everywhere, interior


@contextmanager
def in_float64() -> Iterator[None]:
    """Let a layer with float64 weights compute in float64 throughout, without gradients.

    Tensors that it makes itself are float64, and so is what it casts to a narrower type, as a
    softmax in a network of half precision is.
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
