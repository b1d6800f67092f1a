"""Neighbourhood attention of NAT: each position attends to the k*k positions around it.

    logit = d**-0.5 * q k + rpb[head, y' - y + k - 1, x' - x + k - 1]
    out = softmax(logit) v          over the keys (y', x') of the window of the query (y, x)

Along an axis of n positions the window of the query i is [a, a + k), a = clamp(i - k//2, 0, n - k).
At a border the window moves inwards, so every query has k*k keys and there is no padding.
(Neighborhood Attention Transformer, arXiv 2204.07143.) Here it is written in matmuls:

    tiles     The map is cut into tiles of queries. A tile of T queries along an axis reads the keys
              [s, s + S), S = min(T + k - 1, n), s = clamp(first query - k//2, 0, n - S), which
              contain the windows of all its queries. Keys outside a query's window get the bias
              ``OUTSIDE``. A partial last tile repeats the last query, and the repetitions are
              dropped.
    dense     One tile is the whole map, and nothing is gathered.

The queries and keys of tiles are rows of (position, head), gathered by constant indices. A single
operator thus moves heads to the front and repeats the keys that several tiles read.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.parts import attend

# Its softmax is exactly zero in every type if the logits of a query differ by less than 29,000,
# because exp underflows at -746 in float64. float16 ends at -65,504, which leaves room for the
# logit that this is added to. An infinity would become NaN in quantised files.
OUTSIDE = -3e4

# Candidates and limit of ``tile_sides``; see there.
_SIDES = (7, 8, 6, 5)
_MAX_READ = 0.75


def tile_sides(resolution: tuple[int, int], kernel: int) -> tuple[int, int]:
    """Choose the height and width of tiles; the map's own height and width mean the dense form.

    Measured with k = 7 on two cores, ONNX Runtime and OpenVINO, one attention with its projections
    in milliseconds, the fastest of interleaved rounds on a busy machine:

        map               dense         tiles of 4   of 7          of 14
        56x56, C = 64     15.0, 7.0     1.0, 0.7     1.0, 0.9      2.0, 1.0
        28x28, C = 128    1.7, 0.94     0.89, 0.43   0.66, 0.43    1.1, 0.59
        14x14, C = 256    0.47, 0.42    0.46, 0.48   0.54, 0.44

    An axis is therefore cut into tiles of about 7 positions. Of the sides 5 to 8, the one with the
    fewest empty positions in the last tile is chosen. An axis is not cut if a tile would read more
    than three quarters of it. Tiles of two rows at 14x14 gained nothing in the whole NAT-Mini (1.00
    and 1.01 times as long without them).

    Args:
        resolution: height and width of the map, at least ``kernel`` each.
        kernel: side of the neighbourhood.
    """
    height, width = (_tile_side(side, kernel) for side in resolution)
    return height, width


def _tile_side(side: int, kernel: int) -> int:
    best = min(_SIDES, key=lambda tile: -side % tile)
    return best if best + kernel - 1 <= _MAX_READ * side else side


@dataclass(frozen=True)
class AxisTiles:
    """The tiles along one axis of a map.

    Args:
        side: positions along the axis, at least ``kernel``.
        kernel: side of the neighbourhood.
        tile: number of queries in a tile.
    """

    side: int
    kernel: int
    tile: int

    @property
    def count(self) -> int:
        """Number of tiles."""
        return -(-self.side // self.tile)

    @cached_property
    def queries(self) -> np.ndarray:
        """Positions of each tile's queries, (count, tile)."""
        places = np.arange(self.count * self.tile).reshape(self.count, self.tile)
        return np.minimum(places, self.side - 1)

    @cached_property
    def keys(self) -> np.ndarray:
        """Positions of each tile's keys, (count, span)."""
        span = min(self.tile + self.kernel - 1, self.side)
        first = np.clip(self.queries[:, 0] - self.kernel // 2, 0, self.side - span)
        return first[:, None] + np.arange(span)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Row of ``rpb`` for each query and key, -1 outside the window, (count, tile, span)."""
        queries, keys = self.queries[:, :, None], self.keys[:, None, :]
        window = np.clip(queries - self.kernel // 2, 0, self.side - self.kernel)
        inside = (keys >= window) & (keys < window + self.kernel)
        return np.where(inside, keys - queries + self.kernel - 1, -1)


class Tiles:
    """The tiles of a map, row by row, and the gather indices for attention inside them.

    Args:
        resolution: height and width of the map, at least ``kernel`` each.
        kernel: side of the neighbourhood.
        sides: height and width of a tile.
    """

    def __init__(self, resolution: tuple[int, int], kernel: int, sides: tuple[int, int]) -> None:
        self.resolution = resolution
        self._y, self._x = (
            AxisTiles(side, kernel, tile) for side, tile in zip(resolution, sides, strict=True)
        )
        self._table = 2 * kernel - 1

    @property
    def count(self) -> int:
        """Number of tiles."""
        return self._y.count * self._x.count

    @property
    def queries(self) -> np.ndarray:
        """Position of each query, (tile, queries)."""
        return self._positions(self._y.queries, self._x.queries)

    @property
    def keys(self) -> np.ndarray:
        """Position of each key, (tile, keys)."""
        return self._positions(self._y.keys, self._x.keys)

    def _positions(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        # (tile y, tile x, y, x)
        grid = y[:, None, :, None] * self.resolution[1] + x[None, :, None, :]
        return grid.reshape(self.count, -1)

    def outputs(self, resolution: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the tile of each position, and its index in the tile.

        Args:
            resolution: height and width of the upper left part of the map that is needed.
        """
        y, x = np.divmod(np.arange(resolution[0] * resolution[1]), resolution[1])
        (tile_y, in_y), (tile_x, in_x) = np.divmod(y, self._y.tile), np.divmod(x, self._x.tile)
        return tile_y * self._x.count + tile_x, in_y * self._x.tile + in_x

    def biases(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of biases in a flat table that has ``OUTSIDE`` after its last entry.

        Tiles of the same kind have the same biases. Along an axis there are at most three kinds:
        the first tile, the last one and those between.

        Returns:
            The index for each query and key of each kind of tile, (kind, queries, keys), and the
            kind of each tile.
        """
        (y, kind_y), (x, kind_x) = (_kinds(axis.offsets) for axis in (self._y, self._x))
        # (kind y, kind x, query y, query x, key y, key x)
        y, x = y[:, None, :, None, :, None], x[None, :, None, :, None, :]
        entry = np.where((y < 0) | (x < 0), self._table**2, y * self._table + x)
        queries = self._y.tile * self._x.tile
        kinds = kind_y[:, None] * entry.shape[1] + kind_x
        return entry.reshape(entry.shape[0] * entry.shape[1], queries, -1), kinds.reshape(-1)


def _kinds(offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct offsets of an axis's tiles, and the index of each tile's among them."""
    flat, kinds = np.unique(offsets.reshape(len(offsets), -1), axis=0, return_inverse=True)
    return flat.reshape(-1, *offsets.shape[1:]), kinds.reshape(-1)


class NeighbourhoodAttention(nn.Module):
    """Attention of each position to its neighbourhood; see the module docstring.

    A feature map smaller than the neighbourhood is padded with zeros at the right and the bottom,
    before the projection. The keys and values of the padding equal the bias and are attended to.

    Args:
        dim: number of channels.
        num_heads: number of heads.
        kernel_size: side of the neighbourhood, in positions.
        resolution: height and width of the feature map.
        bias: whether the projection of q, k and v has a bias.
        sides: height and width of the tiles; None for those of ``tile_sides``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        kernel_size: int,
        resolution: tuple[int, int],
        bias: bool = True,
        sides: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.resolution = resolution
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        self.proj = nn.Linear(dim, dim)
        table = 2 * kernel_size - 1
        self.rpb = nn.Parameter(torch.zeros(num_heads, table, table))
        height, width = (max(side, kernel_size) for side in resolution)
        self.padded = (height, width)
        sides = sides or tile_sides(self.padded, kernel_size)
        self._set_indices(Tiles(self.padded, kernel_size, sides))

    def _set_indices(self, tiles: Tiles) -> None:
        """Register the indices of the tiles as buffers that are not saved with the weights."""
        self.tiles = tiles.count
        biases, kinds = tiles.biases()
        self.shape = biases.shape[1:]
        heads = np.arange(self.num_heads)
        tile, place = tiles.outputs(self.resolution)
        first = (tile[:, None] * self.num_heads + heads) * self.shape[0]
        indices = {
            "bias_entries": biases,
            "tile_kinds": kinds,
            # (tile, head, place): rows of (position, head)
            "query_rows": tiles.queries[:, None] * self.num_heads + heads[:, None],
            "key_rows": tiles.keys[:, None] * self.num_heads + heads[:, None],
            # (position, head): rows of (tile, head, place)
            "output_rows": first + place[:, None],
        }
        for name, index in indices.items():
            self.register_buffer(name, torch.from_numpy(index.reshape(-1)), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend on tokens (batch, h * w, dim). The shape is kept."""
        q, k, v = self.qkv(self._pad(tokens)).chunk(3, dim=-1)
        if self.tiles > 1:
            return self.proj(self._in_tiles(q, k, v))
        return self.proj(self._cut(attend(q, k, v, self.num_heads, self.position_bias())))

    def position_bias(self) -> Tensor:
        """Return the bias of every query and key in every tile, (tile * head, queries, keys)."""
        table = functional.pad(self.rpb.flatten(1), (0, 1), value=OUTSIDE)
        kinds = table.index_select(1, self.get_buffer("bias_entries"))
        if self.tiles > 1:
            kinds = kinds.reshape(self.num_heads, -1, self.shape[0] * self.shape[1])
            kinds = kinds.transpose(0, 1).index_select(0, self.get_buffer("tile_kinds"))
        return kinds.reshape(-1, *self.shape)

    def _in_tiles(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in tiles: padded tokens (batch, N, dim) to (batch, h * w, dim)."""
        dim = q.shape[-1]
        head_dim = dim // self.num_heads
        q = self._gathered(head_dim**-0.5 * q, "query_rows")
        k, v = (self._gathered(each, "key_rows") for each in (k, v))
        # (batch, tile * head, queries, keys)
        logits = q @ k.transpose(-2, -1) + self.position_bias()
        rows = (logits.softmax(dim=-1) @ v).reshape(-1, q.shape[1] * q.shape[2], head_dim)
        rows = rows.index_select(1, self.get_buffer("output_rows"))
        return rows.reshape(-1, self.resolution[0] * self.resolution[1], dim)

    def _gathered(self, tokens: Tensor, index: str) -> Tensor:
        """Gather tokens (batch, N, dim) into tiles, (batch, tile * head, positions, d)."""
        positions, dim = tokens.shape[1:]
        rows = tokens.reshape(-1, positions * self.num_heads, dim // self.num_heads)
        rows = rows.index_select(1, self.get_buffer(index))
        tiles = self.tiles * self.num_heads
        return rows.reshape(-1, tiles, rows.shape[1] // tiles, rows.shape[2])

    def _pad(self, tokens: Tensor) -> Tensor:
        """Pad tokens (batch, h * w, dim) to those of the padded map, (batch, N, dim)."""
        (height, width), (below, right) = self.resolution, self.padded
        if self.padded == self.resolution:
            return tokens
        nhwc = tokens.reshape(-1, height, width, tokens.shape[-1])
        return functional.pad(nhwc, (0, 0, 0, right - width, 0, below - height)).flatten(1, 2)

    def _cut(self, tokens: Tensor) -> Tensor:
        """Undo ``_pad``."""
        if self.padded == self.resolution:
            return tokens
        height, width = self.resolution
        nhwc = tokens.reshape(-1, *self.padded, tokens.shape[-1])
        return nhwc[:, :height, :width].flatten(1, 2)
