"""A projection behind a normalisation, without a bias: the product gives it.

What a normalisation answers, x, sums to zero over its features. So a number r that is added to all
weights w of an output changes nothing; and where the normalisation adds 1 to every feature,

    (x + 1) · (w + r) = x · w + sum(w) + features * r

the number becomes a bias. r = (bias - sum(w)) / features makes it the bias of the projection. ONNX
Runtime adds a bias in a pass of its own, over what is often four times as wide as x; the others add
it in the kernel of the product.
"""

import torch
from torch import nn

from slide_deploy.lowerings.projection import constant, constant_linear


@torch.no_grad()
def absorb_bias(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[nn.LayerNorm, nn.Linear]:
    """A normalisation and the projection behind it that answer as the two given.

    Args:
        norm: of the last axis. Its weight and its bias move into the projection.
        linear: what takes its answer, and nothing else does; with or without a bias.

    Returns:
        A normalisation that scales by 1 and adds 1, and a projection without a bias.
    """
    weight = linear.weight.double() * norm.weight.double()
    bias = linear.weight.double() @ norm.bias.double()
    if linear.bias is not None:
        bias += linear.bias.double()
    weight += ((bias - weight.sum(dim=1)) / linear.in_features)[:, None]
    shifted = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    shifted.weight = constant(torch.ones_like(norm.weight))
    shifted.bias = constant(torch.ones_like(norm.bias))
    return shifted, constant_linear(weight.to(linear.weight.dtype), None)
