"""The flat form: as dual, on tokens, with rows padded so that a tap is one contiguous slice.

    a map of rows of W tokens becomes rows of P = r + W tokens, one behind the other, zeros first;
    the neighbours at tap (row, column) of all tokens are the slice that starts at row * P + column

What is right of a row are the zeros on the left of the next one. Everything stays in the layout of
the matrix products, (tokens, channels): there is no transpose of a map. Slices are the middle part
of a split, which OpenVINO reads where it lies, without a copy. One kernel serves all heads, so that
tokens and heads are rows of one product, (tokens * heads, d). The tokens of the padding are
computed too, and cut off at the end. One offset of the keys costs nothing (``relative.py``).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.errors import InputError
from slide_deploy.lowerings.bands import Band
from slide_deploy.lowerings.form import Form
from slide_deploy.lowerings.projection import (
    constant,
    constant_linear,
    per_head_kernels,
    projections,
)
from slide_deploy.lowerings.relative import relative, with_first
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Flat(Form):
    """See the module's description.

    Raises:
        InputError: if the heads have kernels of their own, or a position has no neighbours.
    """

    on_maps = False

    @torch.no_grad()
    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        key, key_bias = per_head_kernels(folded, folded.key_conv)
        value, value_bias = per_head_kernels(folded, folded.value_conv)
        for each in (key, value, value_bias):
            if not torch.equal(each, each[:1].expand_as(each)):
                raise InputError(
                    "The heads of a slide attention have kernels of their own: choose another "
                    "lowering than flat."
                )
        key, key_bias = relative(key, 2), relative(key_bias, 2)
        # each (d, K - 1) a tap, and (K, d)
        self.key_taps = nn.ParameterList(map(constant, key[0].unbind(2)))
        self.value_taps = nn.ParameterList(constant(tap.T) for tap in value[0].unbind(2))
        self.value_bias = constant(value_bias[0].T)
        linears = [constant_linear(*projection) for projection in projections(folded)]
        self.query, self.key, self.value = linears * 3 if len(linears) == 1 else linears
        # (head * d, head * (K - 1)): the logits q^T b, each of the features of its head.
        self.key_bias = constant(torch.block_diag(*key_bias))

    def forward(self, rows: Tensor, band: Band) -> Tensor:
        """See ``Form.forward``."""
        config, width = self.config, rows.shape[2]
        radius = config.kernel_size // 2
        pitch = radius + width
        tokens = band.rows * pitch
        inside = slice(band.top - band.first, band.bottom - band.first)
        # The last tap of the last token ends 2r tokens behind the last row.
        behind = -(-2 * radius // pitch)
        zeros = (0, 0, radius, 0, band.above, band.below + behind)
        k = v = functional.pad(self.key(rows), zeros).flatten(1, 2)
        if self.value is not self.key:
            v = functional.pad(self.value(rows), zeros).flatten(1, 2)
        # A query stands where its first tap does, r tokens left of its own.
        whole = band.rows == band.last - band.first
        queries = self.query(rows if whole else rows[:, inside])
        q = functional.pad(queries, (0, 0, 0, radius)).flatten(1, 2)
        # Added as long rows: OpenVINO's elementwise kernel takes one row at a time.
        computed = config.offsets - 1
        long_rows = (-1, band.rows, pitch * config.num_heads * computed)
        logits = (q @ self.key_bias).reshape(long_rows)
        per_head = (-1, config.head_dim)

        def at(side: Tensor, tap: int) -> Tensor:
            row, column = divmod(tap, config.kernel_size)
            return _slice(side, row * pitch + column, tokens)

        for tap, kernel in enumerate(self.key_taps):
            products = (q * at(k, tap)).reshape(per_head)
            logits = logits + (products @ kernel).reshape(long_rows)
        # Softmax over the first axis: over a last one of K it takes five times as long.
        logits = logits.reshape(-1, tokens * config.num_heads, computed).transpose(1, 2)
        attention = with_first(logits).softmax(dim=1).transpose(1, 2).reshape(-1, config.offsets)
        shape = (-1, tokens, config.inner_dim)
        out = (attention @ self.value_bias).reshape(shape)
        for tap, kernel in enumerate(self.value_taps):
            out = out + (attention @ kernel).reshape(shape) * at(v, tap)
        out = out.reshape(-1, band.rows, pitch, config.inner_dim)
        return out[:, :, :width]


def _slice(tokens: Tensor, start: int, count: int) -> Tensor:
    """Some of the tokens (batch, tokens, channels), as the middle part of a split."""
    sizes = [start, count, tokens.shape[1] - start - count]
    parts = tokens.split([size for size in sizes if size], dim=1)
    return parts[1 if start else 0]
