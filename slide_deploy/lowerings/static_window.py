"""Window attention as constants and matrix products: no gather, no mask arithmetic, rank 4.

    bias[window, head] = position bias + mask, computed once;  the scale goes into the query rows.

The features stand before the positions, (window, head, d, w*w). Where heads stand between positions
and features OpenVINO 2026.4.1 answers wrongly on the CPU if there are as many heads as positions.
"""

import torch
from torch import Tensor, nn

from slide_deploy.models.window_attention import WindowAttention


class StaticWindowAttention(nn.Module):
    """A window attention ready for export.

    Args:
        trained: the layer to write.
        mask: (windows, w*w, w*w) of its shifted windows, or None.
    """

    bias: Tensor

    @torch.no_grad()
    def __init__(self, trained: WindowAttention, mask: Tensor | None) -> None:
        super().__init__()
        dim, heads = trained.proj.in_features, trained.num_heads
        self.num_heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=trained.qkv.bias is not None)
        # Outputs are (q|k|v, head, d): the first third are the queries.
        scale = torch.ones(3 * dim, dtype=torch.float64)
        scale[:dim] = trained.scale
        dtype = trained.qkv.weight.dtype
        self.qkv.weight = nn.Parameter((scale[:, None] * trained.qkv.weight).to(dtype), False)
        if trained.qkv.bias is not None:
            self.qkv.bias = nn.Parameter((scale * trained.qkv.bias).to(dtype), False)
        self.proj = trained.proj
        # (window, head, w*w, w*w): heads side by side with windows keep the sum at rank 4.
        bias = trained.position_bias()[None]
        if mask is not None:
            bias = bias + mask[:, None]
        self.register_buffer("bias", bias.flatten(0, 1)[None].to(dtype))

    def forward(self, windows: Tensor, mask: None = None) -> Tensor:
        """Attend inside each window: (batch * windows, w*w, dim), kept."""
        _, positions, dim = windows.shape
        features = self.qkv(windows).transpose(1, 2)  # (batch * window, 3 * dim, w*w)
        heads = (-1, self.num_heads, dim // self.num_heads, positions)
        # each (batch * window, head, d, w*w)
        q, k, v = (part.reshape(heads) for part in features.split(dim, dim=1))
        logits = q.transpose(2, 3) @ k
        per_image = (-1, self.bias.shape[1], positions, positions)
        attention = (logits.reshape(per_image) + self.bias).softmax(dim=-1)
        attention = attention.reshape(-1, self.num_heads, positions, positions)
        out = v @ attention.transpose(2, 3)
        return self.proj(out.reshape(-1, dim, positions).transpose(1, 2))
