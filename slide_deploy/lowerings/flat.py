"""The flat form: matmuls on tokens row by row, so that a tap is one contiguous slice.

    logit = sum_j W_k[., ., j]^T (q * k at tap j) + b_k^T q
    out   = sum_j (W_v[., ., j] a) * (v at tap j) + b_v a,      a = softmax(logit)

W[d, p, j] maps d features to K offsets for the keys and back for the values. There is no depthwise
convolution, and no tensor holds K copies of the map.

    a map of rows of W tokens, one behind the other, with rows of zeros above and below;
    the neighbours at tap (row, column) of all tokens are the slice that starts at row * W + column

A slice runs over the ends of rows: what it finds there stands in another row and, for the token, is
outside the map. A mask of the columns makes zeros of it, of finite numbers. Everything stays in the
layout of the matrix products, (tokens, channels): there is no transpose of a map. Slices are the
middle part of a split, which OpenVINO reads where it lies, without a copy. One kernel serves all
heads, so that tokens and heads are rows of one product, (tokens * heads, d). One offset of the keys
costs nothing (``relative.py``), nor does their bias (``absorbed.py``).

Where copies of positions inside stand outside the map, rows are surrounded already, and a tap is a
slice of rows and columns.
"""

import functools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.errors import InputError
from slide_deploy.lowerings.absorbed import absorbed_bias
from slide_deploy.lowerings.form import Form
from slide_deploy.lowerings.projection import (
    constant,
    constant_linear,
    per_head_kernels,
    project_rows,
    projections,
)
from slide_deploy.lowerings.relative import relative, with_first
from slide_deploy.lowerings.strips import Strip
from slide_deploy.models.slide_attention import FoldedSlideAttention


class Flat(Form):
    """See the module's description.

    Raises:
        InputError: if the heads have kernels of their own, or a position has no neighbours.
    """

    on_maps = False
    any_map_size = False  # the parts of a split have sizes that converters must know

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
        # For rows of zeros and masks; what a program makes anew, not every converter takes.
        self.zero, self.one = (constant(key.new_full((1, 1, 1, 1), each)) for each in (0, 1))
        linears = [constant_linear(*projection) for projection in projections(folded)]
        self.query, self.key, self.value = linears * 3 if len(linears) == 1 else linears
        self.key_constants: nn.ParameterList | None = None
        self.key_bias: nn.Parameter | None = None
        # How large keys are: what they project has been normalised.
        size = torch.linalg.vector_norm(self.key.weight, dim=1)
        constants = absorbed_bias(key, key_bias, size.unflatten(0, key.shape[:2]))
        if constants is None:
            # (head * d, head * (K - 1)): the logits q^T b, each of the features of its head.
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
        # One row more than is outside the map: slices run over the ends of the first and the last.
        more = -(-(self.config.kernel_size // 2) // width)
        outside = max(strip.above, strip.below) + more
        tokens = self._between_zeros(side, outside)
        first = (outside + strip.top - strip.first) * width
        # Asked for keys and values apart: kernels of OpenVINO are slower that share a mask.
        masks = [self._mask(width, column) for column in range(self.config.kernel_size)]
        return _Neighbours(tokens, first, (strip.rows, width, channels), masks)

    def _between_zeros(self, side: Tensor, count: int) -> Tensor:
        """As tokens, (batch, tokens, channels), with rows of zeros before and behind."""
        rows, width = side.shape[1:3]
        if count > rows:
            return functional.pad(side, (0, 0, 0, 0, count, count)).flatten(1, 2)
        # Not by padding: OpenVINO has a single thread for the padding of whole rows.
        tokens = side.flatten(1, 2)
        zeros = tokens[:, : count * width] * self.zero[0]
        return torch.cat([zeros, tokens, zeros], dim=1)

    def _mask(self, width: int, column: int) -> Tensor | None:
        """Zeros where a column of the neighbourhood is outside the map: (1, 1, W, 1)."""
        shift = column - self.config.kernel_size // 2
        outside = min(abs(shift), width)
        if outside == width:
            return self.zero
        pads = (outside, 0) if shift < 0 else (0, outside)
        seen = self.one.expand(1, 1, width - outside, 1)
        return functional.pad(seen, (0, 0, *pads)) if outside else None

    def _logits(self, q: Tensor, k: "_Neighbours") -> Tensor:
        """Of (batch, rows, W, channels), all but the first: (batch, rows, W * heads * (K - 1))."""
        _, rows, width, _ = q.shape
        computed = self.config.offsets - 1
        # As long rows: OpenVINO's elementwise kernel takes one row at a time.
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
        """From all but the first logit to the shares, (batch * rows * W * heads, K)."""
        computed = self.config.offsets - 1
        by_row = logits.reshape(-1, logits.shape[-1] // computed, computed).transpose(1, 2)
        # Softmax over the first axis: over a last one of K it takes five times as long.
        return with_first(by_row).softmax(dim=1).transpose(1, 2).reshape(-1, self.config.offsets)

    def _weighted(self, attention: Tensor, v: "_Neighbours") -> Tensor:
        """The sum of the neighbours' values: (batch, rows, W, channels)."""
        shape = (-1, *v.shape)
        out = (attention @ self.value_bias).reshape(shape)
        side = self.config.kernel_size
        for column in range(side):
            taps = range(column, side * side, side)
            products = (
                (attention @ self.value_taps[tap]).reshape(shape) * v.unmasked(tap) for tap in taps
            )
            # They share a mask. (Keys have constants behind theirs.)
            out = out + v.masked(functools.reduce(torch.add, products), column)
        return out


class _Neighbours:
    """What stands around the tokens of a strip.

    Args:
        tokens: keys or values, (batch, tokens, channels), and what is around those of the strip.
        first: where the first token of the strip stands.
        shape: rows, W and channels of the strip.
        masks: of the columns of the neighbourhood, (1, 1, W, 1); None where nothing is outside.
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
        """The neighbours at a tap of all tokens, (batch, rows, W, channels)."""
        return self.masked(self.unmasked(tap), tap)

    def unmasked(self, tap: int) -> Tensor:
        """The same, with what slices find outside the map."""
        rows, width, _ = self.shape
        row, column = divmod(tap, len(self.masks))
        count, start = rows * width, self.first_tap + row * width + column
        sizes = [start, count, self.tokens.shape[1] - start - count]
        parts = self.tokens.split([size for size in sizes if size], dim=1)
        return parts[1 if start else 0].reshape(-1, *self.shape)

    def masked(self, neighbours: Tensor, tap: int) -> Tensor:
        """With zeros where the column of a tap is outside the map."""
        mask = self.masks[tap % len(self.masks)]
        return neighbours if mask is None else neighbours * mask


class _SurroundedNeighbours(_Neighbours):
    """The same on rows that hold all neighbours: nothing is outside, so that there is no mask.

    Args:
        side: keys or values of the tokens of a strip and of what is around them, (batch,
            rows + 2 * radius, W + 2 * radius, channels).
        radius: r.
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
