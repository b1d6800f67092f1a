"""A normalisation and the projection behind it, whose weights take over what they can.

The weight and the bias of the normalisation always move into the projection: ``fold_affine``. The
projection's bias can move into its weights as well, where a runtime adds biases in passes of their
own: ``absorb_bias``. What a normalisation answers, x, sums to zero over its features. So a number r
that is added to all weights w of an output changes nothing; and where the normalisation adds 1 to
every feature,

    (x + 1) · (w + r) = x · w + sum(w) + features * r

the number becomes a bias. r = (bias - sum(w)) / features makes it the bias of the projection.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.projection import constant, constant_linear

# From a normalisation of the last axis, with weight and bias, and the only layer that takes its
# answer, to two layers that answer alike.
Rewrite = Callable[[nn.LayerNorm, nn.Linear], tuple[nn.LayerNorm, nn.Linear]]


def fold_affine(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[nn.LayerNorm, nn.Linear]:
    """A normalisation without weight and bias, and a projection with a bias; see ``Rewrite``."""
    weight, bias = _folded(norm, linear)
    plain = nn.LayerNorm(norm.normalized_shape, eps=norm.eps, elementwise_affine=False)
    dtype = linear.weight.dtype
    return plain, constant_linear(weight.to(dtype), bias.to(dtype))


def absorb_bias(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[nn.LayerNorm, nn.Linear]:
    """A normalisation that adds 1, and a projection without a bias; see ``Rewrite``."""
    weight, bias = _folded(norm, linear)
    weight += ((bias - weight.sum(dim=1)) / linear.in_features)[:, None]
    shifted = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    shifted.weight = constant(torch.ones_like(norm.weight))
    shifted.bias = constant(torch.ones_like(norm.bias))
    return shifted, constant_linear(weight.to(linear.weight.dtype), None)


@torch.no_grad()
def _folded(norm: nn.LayerNorm, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of the projection in float64, those of the normalisation in them."""
    weight = linear.weight.double()
    bias = weight @ norm.bias.double()
    if linear.bias is not None:
        bias += linear.bias.double()
    return weight * norm.weight.double(), bias
