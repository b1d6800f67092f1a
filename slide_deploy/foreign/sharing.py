"""One kernel for all heads where those of the heads differ by a factor or by rounding only.

    logit = q[h] . (f[h] * W k + b[h])  =  (f[h] * q[h]) . (W k + b[h] / f[h])
    out   = P[h] (f[h] * (W v + b))     =  (f[h] * P[h]) (W v + b)

Some forms of the attention have one kernel for all heads and no other.
"""

import torch
from torch import Tensor

from slide_deploy.models.slide_attention import FoldedSlideAttention

# What rounding in float64 leaves of equal numbers, over the largest of them.
_ROUNDING = 1e-12


@torch.no_grad()
def share_kernels(folded: FoldedSlideAttention) -> None:
    """Write one kernel for all heads, where that is exact; factors go into the projections.

    Args:
        folded: in float64, with a projection for each of q, k and v; changed in place.
    """
    config = folded.config
    heads, d = config.num_heads, config.head_dim
    key_bias, value_bias = folded.key_conv.bias, folded.value_conv.bias
    assert key_bias is not None
    assert value_bias is not None
    by_head = folded.key_conv.weight.view(heads, -1)
    if (factors := _factors(by_head)) is not None:
        by_head.copy_(by_head[:1].clone().expand_as(by_head))
        key_bias.view(heads, -1).div_(factors)
        for rows in (folded.qkv.weight, folded.qkv.bias):
            queries = rows.view(heads, 3, d, -1)[:, 0]
            queries.mul_(factors[..., None])
    kernels, biases = folded.value_conv.weight.view(heads, -1), value_bias.view(heads, -1)
    if (factors := _factors(torch.cat([kernels, biases], 1))) is not None:
        for side in (kernels, biases):
            side.copy_(side[:1].clone().expand_as(side))
        folded.proj.weight.view(config.dim, heads, d).mul_(factors)


def _factors(by_head: Tensor) -> Tensor | None:
    """How many times the first row each row is: (head, 1), or None where it is not."""
    first = by_head[0]
    factors = (by_head @ first / (first @ first))[:, None]
    # Written so that NaN, of a row of zeros, is no factor.
    apart = (by_head - factors * first).abs().amax(1)
    if not bool((apart <= _ROUNDING * by_head.abs().amax(1)).all() and factors.all()):
        return None
    return torch.where((factors - 1).abs() <= _ROUNDING, 1.0, factors)
