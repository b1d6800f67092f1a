"""Logits relative to those of the first offset: one offset of the K costs nothing.

A softmax answers alike when one number is taken off all logits of a position. Taken off is the
logit of the first offset, which is linear in the same keys, so that it goes into the weights:

    logit[p] - logit[0] = sum (q * (conv_k[p] - conv_k[0])(k))

For the first offset itself nothing is left to compute: its logit is zero.
"""

import torch
from torch import Tensor
from torch.nn import functional

from slide_deploy.errors import InputError


def relative(weights: Tensor, dim: int) -> Tensor:
    """Weights of the keys that give relative logits.

    Args:
        weights: of K offsets.
        dim: the axis of the offsets.

    Returns:
        Those of all but the first offset, the first ones taken off.

    Raises:
        InputError: if there is but one offset.
    """
    offsets = weights.shape[dim]
    if offsets == 1:
        raise InputError(
            "A neighbourhood of one position has no relative logits: choose another lowering."
        )
    first, others = torch.split(weights, [1, offsets - 1], dim)
    return others - first


def with_first(logits: Tensor) -> Tensor:
    """Add the logit of the first offset: (batch, K - 1, n) to (batch, K, n).

    By padding, which knows a batch of any size without computing a shape.
    """
    return functional.pad(logits, (0, 0, 1, 0))
