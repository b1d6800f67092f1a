"""Parts that the transformers of several families have in common."""

from torch import Tensor, nn


class Mlp(nn.Module):
    """Two projections with the exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape (..., dim)."""
        return self.fc2(self.act(self.fc1(tokens)))


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor | None = None) -> Tensor:
    """Attention of queries to keys, with the usual factor ``d ** -0.5`` for heads of d features.

    Args:
        q: (batch, queries, C), whose channels are (head, d).
        k: (batch, keys, C).
        v: (batch, keys, C).
        heads: how many.
        bias: added to the logits, (head, queries, keys) or with a batch in front.

    Returns:
        The weighted values, (batch, queries, C), heads side by side.
    """
    head_dim = q.shape[-1] // heads
    # (batch, head, tokens, d)
    q, k, v = (each.unflatten(-1, (heads, head_dim)).transpose(1, 2) for each in (q, k, v))
    logits = (head_dim**-0.5 * q) @ k.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return (logits.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def as_map(tokens: Tensor, resolution: tuple[int, int]) -> Tensor:
    """Tokens row by row as a map: (batch, h * w, C) to (batch, C, h, w)."""
    return tokens.transpose(1, 2).reshape(-1, tokens.shape[-1], *resolution)


def as_tokens(maps: Tensor) -> Tensor:
    """A map as tokens, row by row: (batch, C, h, w) to (batch, h * w, C)."""
    # Not flattened first: runtimes leave the layout of convolutions and transpose in one pass.
    return maps.permute(0, 2, 3, 1).flatten(1, 2)
