"""Share one kernel between all heads whose kernels differ only by a factor or by rounding.

    logit = q[h] . (f[h] * W k + b[h])  =  (f[h] * q[h]) . (W k + b[h] / f[h])
    out   = P[h] (f[h] * (W v + b))     =  (f[h] * P[h]) (W v + b)

Some forms of the attention support only one kernel for all heads.
"""

import torch
from torch import Tensor

from slide_deploy.models.slide_attention import FoldedSlideAttention

# Largest relative difference between numbers that are equal up to rounding in float64.
_ROUNDING = 1e-12


@torch.no_grad()
def share_kernels(folded: FoldedSlideAttention) -> None:
    """Share one kernel between all heads where that is exact. Projections take up the factors.

    Args:
        folded: attention in float64, with separate projections of q, k and v. It is changed in
            place.
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
    """Return the ratio of each row to the first, (head, 1); None if a row is no multiple of it."""
    first = by_head[0]
    factors = (by_head @ first / (first @ first))[:, None]
    # Written so that NaN, which a row of zeros gives, is not a factor.
    apart = (by_head - factors * first).abs().amax(1)
    if not bool((apart <= _ROUNDING * by_head.abs().amax(1)).all() and factors.all()):
        return None
    return torch.where((factors - 1).abs() <= _ROUNDING, 1.0, factors)
