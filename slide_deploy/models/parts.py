"""Parts that the transformers of several families have in common."""

import math
from collections.abc import Iterable

from torch import Tensor, nn

from slide_deploy.errors import InputError


class Mlp(nn.Module):
    """Two projections with the exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens of shape (..., dim), which is kept."""
        return self.fc2(self.act(self.fc1(tokens)))


class Level(nn.Module):
    """Holds the blocks of a stage and the downsampling after them. It has no ``forward``."""

    def __init__(self, blocks: Iterable[nn.Module], downsample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.downsample = downsample


def run_levels(levels: Iterable[nn.Module], tokens: Tensor) -> list[Tensor]:
    """Return the tokens (batch, positions, C) after the blocks of each stage."""
    outputs = []
    for level in levels:
        assert isinstance(level, Level)
        for block in level.blocks:
            tokens = block(tokens)
        outputs.append(tokens)
        if level.downsample is not None:
            tokens = level.downsample(tokens)
    return outputs


def hidden_width(dim: int, ratio: float) -> int:
    """Return the hidden width of an MLP, ``dim * ratio`` rounded down."""
    # The small addition keeps 2073 / 768 * 768 from being rounded down to 2072.
    return int(dim * ratio + 1e-6)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Compute attention with the default scale ``d ** -0.5`` for heads of d features.

    Args:
        q: queries (batch, queries, C), with channels (head, d).
        k: keys (batch, keys, C).
        v: values (batch, keys, C).
        heads: number of heads.
        bias: added to the logits, (head, queries, keys) or with a leading batch.

    Returns:
        The weighted values, (batch, queries, C), with channels (head, d).
    """
    head_dim = q.shape[-1] // heads
    # (batch, head, tokens, d)
    q, k, v = (each.unflatten(-1, (heads, head_dim)).transpose(1, 2) for each in (q, k, v))
    logits = (head_dim**-0.5 * q) @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return (logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def check_scale(qk_scale: float | None) -> None:
    """Check the setting of the factor on the logits.

    Raises:
        InputError: if it is neither None nor a finite number.
    """
    if qk_scale is None:
        return
    if isinstance(qk_scale, bool) or not isinstance(qk_scale, int | float):
        raise InputError(f"qk_scale is {qk_scale!r}: give a number, or None for the default.")
    if not math.isfinite(qk_scale):
        raise InputError(f"qk_scale is {qk_scale}: give a finite number.")


def query_scale(head_dim: int, qk_scale: float | None) -> float:
    """Return the factor on the logits: ``qk_scale``, or ``head_dim ** -0.5`` if that is None or 0.

    Args:
        head_dim: features per head before any reduction.
        qk_scale: the setting. As in training, 0 means the default.
    """
    return float(qk_scale or head_dim**-0.5)


def as_nchw(tokens: Tensor, resolution: tuple[int, int]) -> Tensor:
    """Convert tokens, row by row, to a feature map: (batch, h * w, C) to (batch, C, h, w)."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[-1], *resolution)


def as_tokens(nchw: Tensor) -> Tensor:
    """Convert a feature map to tokens, row by row: (batch, C, h, w) to (batch, h * w, C)."""
    # Permuted before flattening, so that runtimes leave their convolution layout in the same pass.
    return nchw.permute(0, 2, 3, 1).flatten(1, 2)
