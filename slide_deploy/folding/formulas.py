"""Arithmetic of folding: tensors in, tensors out, no modules.

The convolution of a sum of kernels is the sum of the convolutions, so

    (W_shift + W_def) * x + (b_shift + b_def)  =  W_shift * x + b_shift + W_def * x + b_def.

The position bias is added to the keys and the logits are ``scale * q . (key + rpb)``: both go into
the key convolution of each head,

    W_key[h, d, p] = scale * W[d, p],      b_key[h, d, p] = scale * (b[d, p] + rpb[h, p]).

The scale could also go into the query projection. It goes into the keys because that is exact even
if one projection serves as q, k and v. All arithmetic is float64.
"""

import math

import torch
from torch import Tensor

from slide_deploy.errors import InputError

Branch = tuple[Tensor, Tensor | None]

# Attributes of convolutions that must be equal before their kernels can be added.
GEOMETRY = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)


def merge_branches(shift: Branch, deformed: Branch) -> tuple[Tensor, Tensor]:
    """Add two convolutions of the same geometry.

    Args:
        shift: weight (d * K, 1, k, k) and bias (d * K) or None.
        deformed: the same for the deformed branch.

    Returns:
        Weight and bias of the convolution that equals their sum, float64.

    Raises:
        InputError: if the kernels differ in shape.
    """
    (shift_weight, shift_bias), (deformed_weight, deformed_bias) = shift, deformed
    if shift_weight.shape != deformed_weight.shape:
        raise InputError(
            f"The branches have kernels of {tuple(shift_weight.shape)} and "
            f"{tuple(deformed_weight.shape)}: only branches of one geometry can be added."
        )
    weight = shift_weight.double() + deformed_weight.double()
    bias = weight.new_zeros(weight.shape[0])
    for term in (shift_bias, deformed_bias):
        if term is not None:
            bias = bias + term.double()
    return weight, bias


def per_head(weight: Tensor, bias: Tensor, heads: int) -> tuple[Tensor, Tensor]:
    """Repeat a shared kernel for every head: (d * K, ...) to (head * d * K, ...)."""
    return weight.repeat(heads, 1, 1, 1), bias.repeat(heads)


def fold_into_keys(
    weight: Tensor, bias: Tensor, scale: float, position_bias: Tensor | None, heads: int
) -> tuple[Tensor, Tensor]:
    """Fold scale and position bias into the key convolution.

    Args:
        weight: kernel (head * d * K, 1, k, k).
        bias: bias (head * d * K).
        scale: factor on the logits.
        position_bias: table (head, K), or None if the model has none.
        heads: number of heads.

    Returns:
        Weight and bias of the same shapes, float64.
    """
    folded = bias.double()
    if position_bias is not None:
        # (head, d, offset) + (head, 1, offset)
        split = folded.reshape(heads, -1, position_bias.shape[-1])
        folded = (split + position_bias.double()[:, None, :]).reshape(-1)
    return scale * weight.double(), scale * folded


def shift_kernel(channels: int, kernel_size: int) -> Tensor:
    """Return the kernel that copies each neighbour, (channels * K, 1, k, k), float32.

    Output ``d * K + p`` is 1 at offset p. Offsets run over the neighbourhood row by row.
    """
    offsets = kernel_size**2
    one_hot = torch.eye(offsets).reshape(offsets, 1, kernel_size, kernel_size)
    return one_hot.repeat(channels, 1, 1, 1)


def distance_from_shift(weight: Tensor, kernel_size: int) -> float:
    """Return the largest absolute difference of a kernel (d * K, 1, k, k) from the pure shift."""
    pure = shift_kernel(weight.shape[0] // kernel_size**2, kernel_size)
    return float((weight.detach().double() - pure.double()).abs().max())


def largest(tensor: Tensor | None) -> float:
    """Return the largest absolute value; 0 for None or an empty tensor."""
    return 0.0 if tensor is None or tensor.numel() == 0 else float(tensor.detach().abs().max())


def difference(one: Tensor, other: Tensor) -> float:
    """Return the largest absolute difference, divided by the largest ``other`` if that exceeds 1.

    It is infinity if a tensor is not finite, for example after overflow, and 0 for empty tensors.
    """
    if not other.numel():
        return 0.0
    value = float((one - other).abs().max()) / max(1.0, float(other.abs().max()))
    return value if math.isfinite(value) else math.inf
