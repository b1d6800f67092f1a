"""Local attention with unfold (im2col), the paper's baseline for slide attention."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.slide_attention import Layout, SlideAttentionBase, SlideAttentionConfig


class UnfoldAttention(SlideAttentionBase):
    """Slide attention whose neighbours are gathered by unfold instead of convolutions."""

    def __init__(
        self,
        config: SlideAttentionConfig,
        layout: Layout = "nchw",
        resolution: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(config, layout, resolution)
        self.relative_position_bias = nn.Parameter(
            torch.zeros(1, config.num_heads, 1, config.offsets, 1)
        )

    def attend(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Compute attention on tokens, (batch, height * width, dim) to the same shape."""
        config = self.config
        batch, positions, _ = tokens.shape
        q, k, v = self._project(tokens)
        keys = self._neighbours(k, height, width) + self.relative_position_bias
        values = self._neighbours(v, height, width)
        logits = (config.scale * q.unsqueeze(3) * keys).sum(dim=2)  # (batch, head, offset, H*W)
        attention = logits.softmax(dim=2).unsqueeze(2)
        out = (attention * values).sum(dim=3)  # (batch, head, d, H*W)
        return self.proj(out.reshape(batch, config.inner_dim, positions).transpose(1, 2))

    def _neighbours(self, heads: Tensor, height: int, width: int) -> Tensor:
        """Gather neighbours, (batch, head, d, H*W) to (batch, head, d, offset, H*W)."""
        config = self.config
        features = heads.reshape(-1, config.inner_dim, height, width)
        columns = functional.unfold(features, config.kernel_size, padding=config.kernel_size // 2)
        return columns.reshape(
            -1, config.num_heads, config.head_dim, config.offsets, height * width
        )
