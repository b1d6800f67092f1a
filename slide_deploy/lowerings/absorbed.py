"""The bias of a depthwise convolution as constants on what it reads: it costs nothing there.

    kernel[p] . x + bias[p] = kernel[p] . (x + c)    where kernel[p] . c = bias[p] for every p

for each feature: as many equations as offsets. Where neighbours outside the map are zeros, the
constants stand there as well, as does a bias.
"""

import torch
from torch import Tensor

# Constants that are many times as large as what they are added to would take bits from it.
_MOST = 16
# Of the bias: what an exact solution is off by.
_ROUNDING = 1000 * torch.finfo(torch.float64).eps


def absorbed_bias(kernel: Tensor, bias: Tensor, size: Tensor) -> Tensor | None:
    """Constants that do what a bias does.

    Args:
        kernel: (head, d, offset, tap), of fewer offsets than taps or as many.
        bias: (head, d, offset).
        size: (head, d), how large the features are that the kernel reads.

    Returns:
        The smallest constants, (head, d, tap); None where the offsets of a feature are so alike
        that there are none, or none but large ones, and where a weight is not finite.
    """
    exact, asked = kernel.double(), bias.double()[..., None]
    if not (exact.isfinite().all() and asked.isfinite().all()):
        return None
    constants = torch.linalg.pinv(exact) @ asked
    off = (exact @ constants - asked).abs().max()
    constants = constants[..., 0]
    is_small = constants.abs().amax(dim=2) <= _MOST * size.double()
    if off > _ROUNDING * asked.abs().max() or not is_small.all():
        return None
    return constants.to(kernel.dtype)
