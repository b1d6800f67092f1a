"""Attention inside stripes of a feature map, with a positional convolution of the values.

    out = softmax(d ** -0.5 * q k^T) v + get_v(v)         inside each stripe

``get_v`` is a depthwise convolution with zero padding at the borders of the stripe. (CSWin
Transformer, arXiv 2107.00652.)
"""

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.parts import as_nchw, as_tokens, attend


class StripeAttention(nn.Module):
    """Attention inside stripes.

    A feature map that the stripes do not tile is padded with zeros, which are attended to.

    Args:
        dim: number of channels.
        num_heads: number of heads.
        resolution: height and width of the feature map.
        stripe: height and width of a stripe. At least one of them is that of the feature map.
    """

    def __init__(
        self, dim: int, num_heads: int, resolution: tuple[int, int], stripe: tuple[int, int]
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.resolution = resolution
        self.stripe = stripe
        # Half on each side, the smaller half first, as in the original code.
        padding = [-size % part for size, part in zip(resolution, stripe, strict=True)]
        self.before = [each // 2 for each in padding]
        self.after = [each - each // 2 for each in padding]
        self.get_v = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend on q, k and v, each (batch, h * w, dim). The shape is kept."""
        q, k, v = self.cut(q), self.cut(k), self.cut(v)
        return self.joined(attend(q, k, v, self.num_heads) + self.positional(v))

    def positional(self, stripes: Tensor) -> Tensor:
        """Convolve the values, (batch * stripes, positions, dim). The shape is kept."""
        height, width = self.stripe
        nchw = as_nchw(stripes, self.stripe)
        weight, padding = self.get_v.weight, (min(1, height - 1), min(1, width - 1))
        # In a stripe of width 1, only the middle of the kernel reads data.
        weight = weight if padding[0] else weight[:, :, 1:2]
        weight = weight if padding[1] else weight[:, :, :, 1:2]
        groups = weight.shape[0]
        return as_tokens(
            functional.conv2d(nchw, weight, self.get_v.bias, padding=padding, groups=groups)
        )

    def cut(self, tokens: Tensor) -> Tensor:
        """Cut tokens into stripes: (batch, h * w, dim) to (batch * stripes, positions, dim)."""
        rows, columns = self.stripe
        dim = tokens.shape[-1]
        if any(self.after):
            (top, left), (bottom, right) = self.before, self.after
            nhwc = tokens.reshape(-1, *self.resolution, dim)
            tokens = functional.pad(nhwc, (0, 0, left, right, top, bottom))
        width = self.resolution[1] + self.before[1] + self.after[1]
        if columns < width:
            # (batch * rows of stripes, y, columns of stripes, x * dim)
            tokens = tokens.reshape(-1, rows, width // columns, columns * dim).transpose(1, 2)
        return tokens.reshape(-1, rows * columns, dim)

    def joined(self, stripes: Tensor) -> Tensor:
        """Undo ``cut``: (batch * stripes, positions, dim) to (batch, h * w, dim)."""
        rows, columns = self.stripe
        dim = stripes.shape[-1]
        height, width = (
            size + before + after
            for size, before, after in zip(self.resolution, self.before, self.after, strict=True)
        )
        if columns < width:
            stripes = stripes.reshape(-1, width // columns, rows, columns * dim).transpose(1, 2)
        if any(self.after):
            (top, left), (inner_height, inner_width) = self.before, self.resolution
            nhwc = stripes.reshape(-1, height, width, dim)
            stripes = nhwc.narrow(1, top, inner_height).narrow(2, left, inner_width)
        return stripes.reshape(-1, self.resolution[0] * self.resolution[1], dim)
