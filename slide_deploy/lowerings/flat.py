"""The flat form: matmuls on tokens row by row, so that a tap is one contiguous slice.

    logit = sum_j W_k[., ., j]^T (q * k at tap j) + b_k^T q
    out   = sum_j (W_v[., ., j] a) * (v at tap j) + b_v a,      a = softmax(logit)

W[d, p, j] maps d features to K offsets for the keys, and K offsets to d features for the values.
There is no depthwise convolution, and no tensor holds K copies of the feature map.

    The rows of W tokens are concatenated, with rows of zeros above and below. The neighbours of all
    tokens at tap (row, column) are then the slice that starts at row * W + column.

Such a slice crosses the ends of rows. The elements that it reads there belong to another row, so
for this token they are outside the feature map. A mask of columns sets them to zero; this needs
finite numbers. Everything keeps the layout of the matmuls, (tokens, channels), so no feature map is
transposed. A slice is the middle part of a split, which OpenVINO reads in place, without a copy.
All heads share one kernel, so tokens and heads are the rows of one matmul, (tokens * heads, d). One
offset of the keys and the bias of the keys cost nothing (``logits.py``).

With padding other than zeros the rows are padded beforehand, and a tap is a slice of rows and
columns.
"""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.errors import InputError
from slide_deploy.lowerings.form import Form
from slide_deploy.lowerings.logits import absorbed_bias, relative, with_first
from slide_deploy.lowerings.projection import (
    constant,
    constant_linear,
    per_head_kernels,
    project_rows,
    projections,
)
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Flat(Form):
    """The flat form; the module's docstring has the formula.

    Raises:
        InputError: the kernels differ between heads, or the neighbourhood is one position.
    """

    is_nchw = False
    any_map_size = False  # converters need the sizes of the parts of a split

    @torch.no_grad()
    def __init__(self, folded: FoldedSlideAttention) -> None:
        super().__init__(folded)
        key, key_bias = per_head_kernels(folded, folded.key_conv)
        value, value_bias = per_head_kernels(folded, folded.value_conv)
        for each in (key, value, value_bias):
            if not torch.equal(each, each[:1].expand_as(each)):
                raise InputError(
                    "The heads of a slide attention have different kernels: choose another "
                    "lowering than flat."
                )
        key, key_bias = relative(key, 2), relative(key_bias, 2)
        # For each tap (d, K - 1) for the keys and (K, d) for the values.
        self.key_taps = nn.ParameterList(map(constant, key[0].unbind(2)))
        self.value_taps = nn.ParameterList(constant(tap.T) for tap in value[0].unbind(2))
        self.value_bias = constant(value_bias[0].T)
        # Constants for padding and masks. Some converters cannot create tensors inside the graph.
        self.zero, self.one = (constant(key.new_full((1, 1, 1, 1), each)) for each in (0, 1))
        linears = [constant_linear(*projection) for projection in projections(folded)]
        self.query, self.key, self.value = linears * 3 if len(linears) == 1 else linears
        self.key_constants: nn.ParameterList | None = None
        self.key_bias: nn.Parameter | None = None
        # The magnitude of the keys: their input has been normalised.
        size = torch.linalg.vector_norm(self.key.weight, dim=1)
        constants = absorbed_bias(key, key_bias, size.unflatten(0, key.shape[:2]))
        if constants is None:
            # (head * d, head * (K - 1)): gives the logits q^T b of each head from its own features.
            self.key_bias = constant(torch.block_diag(*key_bias))
        else:
            # each (1, 1, 1, head * d)
            of_taps = constants.flatten(0, 1)[None, None, None].unbind(4)
            self.key_constants = nn.ParameterList(map(constant, of_taps))

    def forward(self, rows: Tensor, strip: Strip) -> Tensor:
        """See ``Form.forward``."""
        k = v = self._neighbours(project_rows(self.key, rows), strip)
        if self.value is not self.key:
            v = self._neighbours(project_rows(self.value, rows), strip)
        if strip.rows != strip.last - strip.first:
            rows = rows[:, strip.inside]
        if strip.beside:
            rows = rows[:, :, strip.beside : -strip.beside]
        q = project_rows(self.query, rows)
        return self._weighted(self._attention(self._logits(q, k)), v)

    def _neighbours(self, side: Tensor, strip: Strip) -> "_Neighbours":
        if strip.beside:
            return _SurroundedNeighbours(side, strip.beside)
        width, channels = side.shape[2:]
        # Slices cross the ends of the first and the last row, so more rows than the halo are
        # needed.
        more = -(-(self.config.kernel_size // 2) // width)
        outside = max(strip.above, strip.below) + more
        tokens = self._between_zeros(side, outside)
        first = (outside + strip.top - strip.first) * width
        # Keys and values get masks of their own: OpenVINO is slower where both share one.
        masks = [self._mask(width, column) for column in range(self.config.kernel_size)]
        return _Neighbours(tokens, first, (strip.rows, width, channels), masks)

    def _between_zeros(self, side: Tensor, count: int) -> Tensor:
        """Flatten rows to (batch, tokens, channels), with ``count`` rows of zeros at either end."""
        rows, width = side.shape[1:3]
        if count > rows:
            return functional.pad(side, (0, 0, 0, 0, count, count)).flatten(1, 2)
        # Concatenated because OpenVINO pads whole rows with a single thread.
        tokens = side.flatten(1, 2)
        zeros = tokens[:, : count * width] * self.zero[0]
        return torch.cat([zeros, tokens, zeros], dim=1)

    def _mask(self, width: int, column: int) -> Tensor | None:
        """Return zeros where a column of the neighbourhood is outside the map: (1, 1, W, 1)."""
        shift = column - self.config.kernel_size // 2
        outside = min(abs(shift), width)
        if outside == width:
            return self.zero
        pads = (outside, 0) if shift < 0 else (0, outside)
        seen = self.one.expand(1, 1, width - outside, 1)
        return functional.pad(seen, (0, 0, *pads)) if outside else None

    def _logits(self, q: Tensor, k: "_Neighbours") -> Tensor:
        """Return all logits but the first: (batch, rows, W * heads * (K - 1)).

        Args:
            q: queries, (batch, rows, W, channels).
            k: the neighbours' keys.
        """
        _, rows, width, _ = q.shape
        computed = self.config.offsets - 1
        # Long rows, because OpenVINO's elementwise kernel processes one row at a time.
        long_rows = (-1, rows, width * self.config.num_heads * computed)

        def of_taps() -> Iterator[Tensor]:
            if self.key_bias is not None:
                yield (q @ self.key_bias).reshape(long_rows)
            for tap, kernel in enumerate(self.key_taps):
                neighbours = k.at(tap)
                if self.key_constants is not None:
                    neighbours = neighbours + self.key_constants[tap]
                products = (q * neighbours).reshape(-1, self.config.head_dim)
                yield (products @ kernel).reshape(long_rows)

        return functools.reduce(torch.add, of_taps())

    def _attention(self, logits: Tensor) -> Tensor:
        """Return the attention weights, (batch * rows * W * heads, K)."""
        computed = self.config.offsets - 1
        by_row = logits.reshape(-1, logits.shape[-1] // computed, computed).transpose(1, 2)
        # Over the last axis, of size K, the softmax takes five times as long.
        return with_first(by_row).softmax(dim=1).transpose(1, 2).reshape(-1, self.config.offsets)

    def _weighted(self, attention: Tensor, v: "_Neighbours") -> Tensor:
        """Return the weighted sum of the neighbours' values: (batch, rows, W, channels)."""
        shape = (-1, *v.shape)
        out = (attention @ self.value_bias).reshape(shape)
        side = self.config.kernel_size
        for column in range(side):
            taps = range(column, side * side, side)
            products = (
                (attention @ self.value_taps[tap]).reshape(shape) * v.unmasked(tap) for tap in taps
            )
            # Taps of one column share a mask. (Keys cannot: their constants are added after it.)
            out = out + v.masked(functools.reduce(torch.add, products), column)
        return out


class _Neighbours:
    """The neighbours of the tokens of a strip.

    Args:
        tokens: keys or values, (batch, tokens, channels), of the strip and its surroundings.
        first: index of the first token of the strip.
        shape: rows, W and channels of the strip.
        masks: one for each column of the neighbourhood, (1, 1, W, 1); None if that column never
            leaves the feature map.
    """

    def __init__(
        self,
        tokens: Tensor,
        first: int,
        shape: tuple[int, int, int],
        masks: Sequence[Tensor | None],
    ) -> None:
        self.tokens, self.shape, self.masks = tokens, shape, masks
        radius = len(masks) // 2
        self.first_tap = first - radius * shape[1] - radius

    def at(self, tap: int) -> Tensor:
        """Return the neighbours of all tokens at a tap, (batch, rows, W, channels)."""
        return self.masked(self.unmasked(tap), tap)

    def unmasked(self, tap: int) -> Tensor:
        """Return the same before masking: outside the map there are elements of other rows."""
        rows, width, _ = self.shape
        row, column = divmod(tap, len(self.masks))
        count, start = rows * width, self.first_tap + row * width + column
        sizes = [start, count, self.tokens.shape[1] - start - count]
        parts = self.tokens.split([size for size in sizes if size], dim=1)
        return parts[1 if start else 0].reshape(-1, *self.shape)

    def masked(self, neighbours: Tensor, tap: int) -> Tensor:
        """Set neighbours to zero where the column of a tap is outside the map."""
        mask = self.masks[tap % len(self.masks)]
        return neighbours if mask is None else neighbours * mask


class _SurroundedNeighbours(_Neighbours):
    """The neighbours of tokens on a padded feature map, which needs no mask.

    Args:
        side: keys or values of a strip and its surroundings, (batch, rows + 2 * radius,
            W + 2 * radius, channels).
        radius: padding on every side, r.
    """

    def __init__(self, side: Tensor, radius: int) -> None:
        rows, width, channels = side.shape[1:]
        shape = (rows - 2 * radius, width - 2 * radius, channels)
        super().__init__(side, 0, shape, [None] * (2 * radius + 1))

    def unmasked(self, tap: int) -> Tensor:
        """See ``_Neighbours.unmasked``."""
        rows, width, _ = self.shape
        row, column = divmod(tap, len(self.masks))
        return self.tokens[:, row : row + rows, column : column + width]
