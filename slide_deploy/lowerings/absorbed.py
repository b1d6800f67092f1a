"""The bias of a depthwise convolution as constants on what it reads: it costs nothing there.

    kernel[p] . x + bias[p] = kernel[p] . (x + c)    where kernel[p] . c = bias[p] for every p

for each feature: as many equations as offsets. Where neighbours outside the map are zeros, the
constants stand there as well, as does a bias.
"""

import torch
from torch import Tensor

# Constants that are many times as large as the bias would take bits from what they are added to.
_MOST_GROWTH = 32
# Of the bias: what an exact solution is off by.
_ROUNDING = 1000 * torch.finfo(torch.float64).eps


def absorbed_bias(kernel: Tensor, bias: Tensor) -> Tensor | None:
    """Constants that do what a bias does.

    Args:
        kernel: (head, d, offset, tap), of fewer offsets than taps or as many.
        bias: (head, d, offset).

    Returns:
        The smallest constants, (head, d, tap); None where the offsets of a feature are so alike
        that there are none, or none but large ones.
    """
    exact, asked = kernel.double(), bias.double()[..., None]
    constants = torch.linalg.pinv(exact) @ asked
    most = asked.abs().max()
    is_solved = (exact @ constants - asked).abs().max() <= _ROUNDING * most
    if not is_solved or constants.abs().max() > _MOST_GROWTH * most:
        return None
    return constants[..., 0].to(kernel.dtype)
