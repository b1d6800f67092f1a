"""Projections, convolutions and kernels of a folded attention, in the shapes that forms need."""

import torch
from torch import Tensor, nn

from slide_deploy.models.slide_attention import FoldedSlideAttention


def projections(folded: FoldedSlideAttention) -> list[tuple[Tensor, Tensor | None]]:
    """Split the projection into those of q, k and v, or one if they are shared.

    One wide projection would need slices, which are copies on every runtime and make ONNX Runtime
    leave the blocked layout of its convolutions.

    Returns:
        Weight (inner_dim, dim) and bias (inner_dim) of each projection.
    """
    config, qkv = folded.config, folded.qkv
    parts = 1 if config.share_qkv else 3

    def part(index: int) -> tuple[Tensor, Tensor | None]:
        # Rows are (head, q|k|v, d).
        split = (config.num_heads, parts, config.head_dim)
        weight = qkv.weight.unflatten(0, split)[:, index].flatten(0, 1)
        bias = None
        if qkv.bias is not None:
            bias = qkv.bias.unflatten(0, split)[:, index].flatten()
        return weight, bias

    return [part(index) for index in range(parts)]


def constant_linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """Return a linear layer with copies of a weight (outputs, inputs) and a bias."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = constant(weight)
    if bias is not None:
        linear.bias = constant(bias)
    return linear


def project_rows(linear: nn.Linear, rows: Tensor) -> Tensor:
    """Project (batch, rows, W, inputs) to (batch, rows, W, outputs).

    The matmul is over tokens, because OpenVINO has a faster kernel for three dimensions than four.
    """
    projected: Tensor = linear(rows.flatten(1, 2))
    return projected.reshape(-1, *rows.shape[1:3], linear.out_features)


def constant_conv(weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without padding, with copies of a weight and a bias.

    Args:
        weight: (outputs, inputs / groups, k, k).
        bias: (outputs).
        groups: number of groups.
    """
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(
        inputs * groups, outputs, (height, width), groups=groups, bias=bias is not None
    )
    conv.weight = constant(weight)
    conv.bias = None if bias is None else constant(bias)
    return conv


def constant(tensor: Tensor) -> nn.Parameter:
    """Return a contiguous copy of a tensor or view as a parameter without gradient."""
    return nn.Parameter(contiguous(tensor.detach()), requires_grad=False)


def contiguous(tensor: Tensor) -> Tensor:
    """Return a contiguous copy; some converters ignore strides."""
    # to() and contiguous() return a tensor unchanged where only an axis of one element has an
    # unusual stride.
    return tensor.clone(memory_format=torch.contiguous_format)


def per_head_kernels(folded: FoldedSlideAttention, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the weights and bias of a folded convolution by head.

    Returns:
        Weights (head, d, offset, tap) and bias (head, d, offset).
    """
    config = folded.config
    split = (config.num_heads, config.head_dim, config.offsets)
    assert conv.bias is not None
    return conv.weight.detach().reshape(*split, config.offsets), conv.bias.detach().reshape(split)
