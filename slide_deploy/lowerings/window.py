"""Window attention as constants and matrix products: no gather, no mask arithmetic, rank 4.

    bias[window, head] = position bias + mask, computed once;  the scale goes into the query rows.

Positions stand before features, (window, head, w*w, d): the order in which both products read rows
as they lie, and which OpenVINO fuses into one kernel. There it answers wrongly if there are as many
heads as positions (2026.4.1, on the CPU); then the features stand first.

Queries, keys and values come out of one product, are cut apart and transposed; or out of a product
for each head, as attention reads them: ``HeadProductAttention``.
"""

import torch
from torch import Tensor, nn

from slide_deploy.lowerings.bias import BiasApart
from slide_deploy.lowerings.projection import constant, contiguous
from slide_deploy.models.window_attention import WindowAttention

# Libraries rearrange the weights of a product for each head in every call. That must be small
# beside the product itself, whose rows are the positions.
LEAST_POSITIONS = 128


def static_window_attention(
    trained: WindowAttention, mask: Tensor | None, head_products: bool
) -> "StaticWindowAttention":
    """A window attention ready for export.

    Args:
        trained: the layer to write.
        mask: (windows, w*w, w*w) of its shifted windows, or None.
        head_products: whether each head has products of its own, where that pays; the projection of
            queries, keys and values has no bias then.
    """
    positions = trained.window**2
    # With as many heads as positions the features stand first.
    if head_products and positions >= LEAST_POSITIONS and trained.num_heads != positions:
        return HeadProductAttention(trained, mask)
    return StaticWindowAttention(trained, mask)


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
        self.proj: nn.Module = BiasApart(trained.proj)
        # (window, head, w*w, w*w): heads side by side with windows keep the sum at rank 4.
        bias = trained.position_bias()[None]
        if mask is not None:
            bias = bias + mask[:, None]
        self.register_buffer("bias", contiguous(bias.flatten(0, 1)[None].to(dtype)))

    def forward(self, windows: Tensor, mask: None = None) -> Tensor:
        """Attend inside each window: (batch * windows, w*w, dim), kept."""
        positions = windows.shape[1]
        attend = self._features_first if self.num_heads == positions else self._positions_first
        return self.proj(attend(self.qkv(windows)))

    def _positions_first(self, qkv: Tensor) -> Tensor:
        """(batch * window, w*w, 3 * dim) to (batch * window, w*w, dim)."""
        _, positions, width = qkv.shape
        heads = (-1, positions, 3 * self.num_heads, width // (3 * self.num_heads))
        # each (batch * window, head, w*w, d)
        return self._attend(*qkv.reshape(heads).transpose(1, 2).split(self.num_heads, dim=1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each (batch * window, head, w*w, d), to (batch * window, w*w, dim)."""
        _, heads, positions, features = q.shape
        out = self._weights(q @ k.transpose(2, 3)) @ v
        return out.transpose(1, 2).reshape(-1, positions, heads * features)

    def _features_first(self, qkv: Tensor) -> Tensor:
        """The same without a transpose of heads and positions."""
        _, positions, width = qkv.shape
        heads = (-1, self.num_heads, width // (3 * self.num_heads), positions)
        # each (batch * window, head, d, w*w)
        q, k, v = (part.reshape(heads) for part in qkv.transpose(1, 2).split(width // 3, dim=1))
        out = v @ self._weights(q.transpose(2, 3) @ k).transpose(2, 3)
        return out.reshape(-1, width // 3, positions).transpose(1, 2)

    def _weights(self, logits: Tensor) -> Tensor:
        """(batch * window, head, w*w, w*w), kept."""
        if self.bias.shape[1] == self.num_heads:  # one bias for all windows
            return (logits + self.bias).softmax(dim=-1)
        shape = (-1, *self.bias.shape[1:])
        return (logits.reshape(shape) + self.bias).softmax(dim=-1).reshape(-1, *logits.shape[1:])


class HeadProductAttention(StaticWindowAttention):
    """The same where each head has products of its own for its queries, keys and values.

    They come out as attention reads them.

    Args:
        trained: the layer to write, without a bias of queries, keys and values.
        mask: (windows, w*w, w*w) of its shifted windows, or None.
    """

    query: nn.Parameter
    key: nn.Parameter
    value: nn.Parameter

    @torch.no_grad()
    def __init__(self, trained: WindowAttention, mask: Tensor | None) -> None:
        super().__init__(trained, mask)
        assert trained.qkv.bias is None
        heads, dim = self.num_heads, trained.proj.in_features
        # each (head, dim, d); the scale is in the queries' already
        weight = self.qkv.weight.reshape(3, heads, -1, dim).transpose(2, 3)
        self.query, self.key, self.value = map(constant, weight)
        del self.qkv

    def forward(self, windows: Tensor, mask: None = None) -> Tensor:
        """Attend inside each window: (batch * windows, w*w, dim), kept."""
        windows = windows[:, None]
        return self.proj(
            self._attend(windows @ self.query, windows @ self.key, windows @ self.value)
        )
