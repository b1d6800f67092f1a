"""The pieces of a folded attention in the shapes that the forms need."""

import torch
from torch import Tensor, nn

from slide_deploy.models.slide_attention import FoldedSlideAttention


def projections(folded: FoldedSlideAttention) -> list[tuple[Tensor, Tensor | None]]:
    """The projections of q, k and v apart, one where they are shared.

    Apart, because a slice of one wide projection makes ONNX Runtime leave the blocked layout of its
    convolutions, and is a copy on every runtime.

    Returns:
        Weight (inner_dim, dim) and bias (inner_dim) of each.
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
    """A projection, of copies: weight (outputs, inputs)."""
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    linear.weight = constant(weight)
    if bias is not None:
        linear.bias = constant(bias)
    return linear


def project_rows(linear: nn.Linear, rows: Tensor) -> Tensor:
    """Project (batch, rows, W, inputs) to (batch, rows, W, outputs), as tokens.

    OpenVINO has a faster kernel for tokens than for more dimensions.
    """
    projected: Tensor = linear(rows.flatten(1, 2))
    return projected.reshape(-1, *rows.shape[1:3], linear.out_features)


def constant_conv(weight: Tensor, bias: Tensor | None = None, groups: int = 1) -> nn.Conv2d:
    """A convolution without padding, of copies: weight (outputs, inputs / groups, k, k)."""
    outputs, inputs, height, width = weight.shape
    conv = nn.Conv2d(
        inputs * groups, outputs, (height, width), groups=groups, bias=bias is not None
    )
    conv.weight = constant(weight)
    conv.bias = None if bias is None else constant(bias)
    return conv


def constant(tensor: Tensor) -> nn.Parameter:
    """A copy that is not trained, contiguous whatever view it was taken of."""
    return nn.Parameter(contiguous(tensor.detach()), requires_grad=False)


def contiguous(tensor: Tensor) -> Tensor:
    """A copy with its last axis first in memory: some converters ignore strides."""
    # Neither to() nor contiguous(): what they take for contiguous they return as it is, strides of
    # axes of one element included.
    return tensor.clone(memory_format=torch.contiguous_format)


def per_head_kernels(folded: FoldedSlideAttention, conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weights and bias of a side by head: (head, d, offset, tap) and (head, d, offset)."""
    config = folded.config
    split = (config.num_heads, config.head_dim, config.offsets)
    assert conv.bias is not None
    return conv.weight.detach().reshape(*split, config.offsets), conv.bias.detach().reshape(split)
