"""Two rewrites that make the logits cheaper to compute.

**Relative logits.** A softmax does not change when the same number is subtracted from all logits of
a position. Subtracting the logit of the first offset saves one of the K offsets: its relative logit
is zero. The difference is linear in the keys, so it goes into the weights:

    logit[p] - logit[0] = sum (q * (conv_k[p] - conv_k[0])(k))

**Absorbed bias.** The bias of the depthwise convolution of the keys becomes constants that are
added to its input, where they cost nothing:

    kernel[p] . x + bias[p] = kernel[p] . (x + c)    where kernel[p] . c = bias[p] for every p

Each feature gives one such system, with one equation for each offset. The constants are also added
to the zeros outside the feature map, because the bias applies there too.
"""

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.errors import InputError

# Largest constant relative to the features that it is added to. A larger one would cost precision.
_MAX_RATIO = 16
# Largest residual, relative to the bias, that still counts as an exact solution.
_ROUNDING = 1000 * torch.finfo(torch.float64).eps


def relative(weights: Tensor, dim: int) -> Tensor:
    """Return the weights of the keys that give relative logits.

    Args:
        weights: weights or biases of K offsets.
        dim: the axis of the offsets.

    Returns:
        The weights of all offsets but the first, minus those of the first.

    Raises:
        InputError: there is only one offset.
    """
    offsets = weights.shape[dim]
    if offsets == 1:
        raise InputError(
            "A neighbourhood of one position has no relative logits: choose another lowering."
        )
    first, others = torch.split(weights, [1, offsets - 1], dim)
    return others - first


def with_first(logits: Tensor) -> Tensor:
    """Insert the zero logit of the first offset: (batch, K - 1, n) to (batch, K, n).

    Padding works for a batch of any size without computing a shape.
    """
    return functional.pad(logits, (0, 0, 1, 0))


def absorbed_bias(kernel: Tensor, bias: Tensor, size: Tensor) -> Tensor | None:
    """Return constants that, added to the input of a kernel, have the effect of its bias.

    Args:
        kernel: (head, d, offset, tap), with at most as many offsets as taps.
        bias: (head, d, offset).
        size: (head, d), the magnitude of the features that the kernel reads.

    Returns:
        The smallest constants, (head, d, tap). None if there is no solution or only a large one,
        because the offsets of a feature are too similar, or if a weight is not finite.
    """
    exact, wanted = kernel.double(), bias.double()[..., None]
    if not (exact.isfinite().all() and wanted.isfinite().all()):
        return None
    constants = torch.linalg.pinv(exact) @ wanted
    residual = (exact @ constants - wanted).abs().max()
    constants = constants[..., 0]
    is_small = constants.abs().amax(dim=2) <= _MAX_RATIO * size.double()
    if residual > _ROUNDING * wanted.abs().max() or not is_small.all():
        return None
    return constants.to(kernel.dtype)
