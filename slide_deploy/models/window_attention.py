"""Window attention of Swin, with a relative position bias, and shifted windows in odd blocks.

    out = softmax(scale * q k^T + bias + mask) v          inside each window of w*w positions

The bias of a pair of positions depends only on their offset. The mask separates positions that the
shift moves into one window from opposite ends of the feature map. (Swin Transformer, arXiv
2103.14030.)
"""

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.models.parts import query_scale

# Added to the logit of a masked pair, as in training. Its softmax is not exactly zero, so the
# number is part of the model.
MASKED_LOGIT = -100.0


class WindowAttention(nn.Module):
    """Attention inside windows.

    Args:
        dim: number of channels.
        num_heads: number of heads.
        window: side of the window, in positions.
        qkv_bias: whether the projection of q, k and v has a bias.
        qk_scale: factor on the logits; None and 0 mean ``(dim // num_heads) ** -0.5``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: int,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.window = window
        self.scale = query_scale(dim // num_heads, qk_scale)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_bias_table = nn.Parameter(
            torch.zeros((2 * window - 1) ** 2, num_heads)
        )

    def position_bias(self) -> Tensor:
        """Return the bias of every pair of positions, (head, w*w, w*w)."""
        index = torch.from_numpy(relative_position_index(self.window))
        return self.relative_position_bias_table[index].permute(2, 0, 1)

    def forward(self, windows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend inside each window.

        Args:
            windows: (batch * windows, w*w, dim).
            mask: (windows, w*w, w*w), added to the logits; None without a shift.

        Returns:
            The shape of ``windows``.
        """
        count, positions, dim = windows.shape
        # (q|k|v, batch * window, head, w*w, d)
        q, k, v = (
            self.qkv(windows)
            .reshape(count, positions, 3, self.num_heads, dim // self.num_heads)
            .permute(2, 0, 3, 1, 4)
        )
        logits = self.scale * q @ k.transpose(-2, -1) + self.position_bias()
        if mask is not None:
            # (batch, window, head, w*w, w*w)
            per_window = logits.unflatten(0, (-1, mask.shape[0]))
            logits = (per_window + mask[:, None]).flatten(0, 1)
        out = logits.softmax(dim=-1) @ v
        return self.proj(out.transpose(1, 2).reshape(count, positions, dim))


def relative_position_index(window: int) -> np.ndarray:
    """Return the row of the bias table for each pair of positions in a window.

    Returns:
        ``(y - y' + w - 1) * (2w - 1) + (x - x' + w - 1)`` for positions (y, x) and (y', x'), as
        int64 of shape (w*w, w*w).
    """
    y, x = np.divmod(np.arange(window * window), window)
    dy = y[:, None] - y[None, :] + window - 1
    dx = x[:, None] - x[None, :] + window - 1
    return dy * (2 * window - 1) + dx


def shifted_window_mask(resolution: tuple[int, int], window: int) -> np.ndarray:
    """Return the mask of windows shifted by half, (windows, w*w, w*w), float32.

    After the cyclic shift, the last ``w`` rows and columns contain up to three regions of the
    original map. Only positions of the same region attend to each other.
    """
    shift = window // 2

    def region(size: int) -> np.ndarray:
        position = np.arange(size)
        return (position >= size - window).astype(int) + (position >= size - shift).astype(int)

    height, width = resolution
    label = 3 * region(height)[:, None] + region(width)[None, :]
    # (rows of windows, y, columns of windows, x) -> (window, w*w)
    blocks = label.reshape(height // window, window, width // window, window)
    blocks = blocks.transpose(0, 2, 1, 3).reshape(-1, window * window)
    apart = blocks[:, :, None] != blocks[:, None, :]
    return np.where(apart, MASKED_LOGIT, 0.0).astype(np.float32)


def partition_windows(nhwc: Tensor, window: int) -> Tensor:
    """Cut into windows, in rank 4 at most: (batch, H, W, C) to (batch * windows, w*w, C)."""
    width, channels = nhwc.shape[2:]
    rows = nhwc.reshape(-1, window, width // window, window * channels)
    return rows.transpose(1, 2).reshape(-1, window * window, channels)


def merge_windows(windows: Tensor, window: int, resolution: tuple[int, int]) -> Tensor:
    """Undo ``partition_windows``: (batch * windows, w*w, C) to (batch, H, W, C)."""
    height, width = resolution
    channels = windows.shape[-1]
    blocks = windows.reshape(-1, width // window, window, window * channels)
    return blocks.transpose(1, 2).reshape(-1, height, width, channels)


def roll_maps(nhwc: Tensor, shift: int) -> Tensor:
    """Roll feature maps (batch, H, W, C) by ``shift`` positions up and to the left.

    It is written with slices and a concatenation, because ``torch.roll`` becomes a gather in Core
    ML.
    """
    for axis in (1, 2):
        size = nhwc.shape[axis]
        cut = shift % size
        ends = (nhwc.narrow(axis, cut, size - cut), nhwc.narrow(axis, 0, cut))
        nhwc = torch.cat(ends, dim=axis)
    return nhwc
