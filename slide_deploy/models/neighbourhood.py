"""Neighbourhood attention, as NAT has it: each position attends to the k*k positions around it.

    logit = d**-0.5 * q k + rpb[head, y' - y + k - 1, x' - x + k - 1]
    out = softmax(logit) v          over the keys (y', x') of the window of the query (y, x)

Along an axis of n positions the window of the query i is [a, a + k), a = clamp(i - k//2, 0, n - k).
At a border it moves inwards and is never cut: every query has k*k keys, and no zero takes part.
(Neighborhood Attention Transformer, arXiv 2204.07143.) Here it is written in products of matrices:

    tiles     the map is cut into tiles of queries. A tile of T queries along an axis reads the keys
              [s, s + S), S = min(T + k - 1, n), s = clamp(first query - k//2, 0, n - S), which hold
              the windows of all of its queries. Keys outside of a query's window get
              ``OUTSIDE`` as their bias. A last tile that the map does not fill repeats the
              last query; the repetitions are dropped.
    dense     one tile, which is the whole map, and nothing needs to be gathered.

Tiles and their keys are rows of (position, head), gathered by constant indices: one operator puts
heads in front and repeats the keys that several tiles read.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.parts import attend

# Softmax of it is exactly zero in every type as long as the logits of a query differ by less than
# 29,000: exp underflows at -746 in float64. float16 holds numbers to -65,504, which leaves room for
# the logit that this is added to. An infinity would become NaN in quantised files.
OUTSIDE = -3e4

# What ``tile_sides`` chooses from; see there.
_SIDES = (7, 8, 6, 5)
_MOST_READ = 0.75


def tile_sides(resolution: tuple[int, int], kernel: int) -> tuple[int, int]:
    """Height and width of the tiles into which a map is cut; the map's own for the dense form.

    Measured with k = 7 on two cores, ONNX Runtime and OpenVINO, one attention with its projections
    in milliseconds, the fastest of interleaved rounds on a busy machine:

        map               dense         tiles of 4   of 7          of 14
        56x56, C = 64     15.0, 7.0     1.0, 0.7     1.0, 0.9      2.0, 1.0
        28x28, C = 128    1.7, 0.94     0.89, 0.43   0.66, 0.43    1.1, 0.59
        14x14, C = 256    0.47, 0.42    0.46, 0.48   0.54, 0.44

    So an axis is cut into tiles of about 7 positions. Of 5 to 8, the side is taken that leaves the
    fewest places of the last tile empty. An axis whose tiles would read more than three quarters
    of it each is left whole. Strips of two rows at 14x14 gave nothing in the whole of NAT-Mini
    (1.00 and 1.01 times as long without them).

    Args:
        resolution: height and width of the map, at least ``kernel`` each.
        kernel: side of the neighbourhood.
    """
    height, width = (_tile_side(side, kernel) for side in resolution)
    return height, width


def _tile_side(side: int, kernel: int) -> int:
    best = min(_SIDES, key=lambda tile: -side % tile)
    return best if best + kernel - 1 <= _MOST_READ * side else side


@dataclass(frozen=True)
class AxisTiles:
    """The tiles along one axis of a map.

    Args:
        side: positions along the axis, at least ``kernel``.
        kernel: side of the neighbourhood.
        tile: queries of a tile.
    """

    side: int
    kernel: int
    tile: int

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return -(-self.side // self.tile)

    @cached_property
    def queries(self) -> np.ndarray:
        """The positions of each tile's queries: (count, tile)."""
        places = np.arange(self.count * self.tile).reshape(self.count, self.tile)
        return np.minimum(places, self.side - 1)

    @cached_property
    def keys(self) -> np.ndarray:
        """The positions of each tile's keys: (count, span)."""
        span = min(self.tile + self.kernel - 1, self.side)
        first = np.clip(self.queries[:, 0] - self.kernel // 2, 0, self.side - span)
        return first[:, None] + np.arange(span)

    @cached_property
    def offsets(self) -> np.ndarray:
        """The row of ``rpb`` for each query and key, -1 outside: (count, tile, span)."""
        queries, keys = self.queries[:, :, None], self.keys[:, None, :]
        window = np.clip(queries - self.kernel // 2, 0, self.side - self.kernel)
        inside = (keys >= window) & (keys < window + self.kernel)
        return np.where(inside, keys - queries + self.kernel - 1, -1)


class Tiles:
    """The tiles of a map, row by row, and the indices that write attention inside them.

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
        """How many tiles there are."""
        return self._y.count * self._x.count

    @property
    def queries(self) -> np.ndarray:
        """The position of each query: (tile, queries)."""
        return self._positions(self._y.queries, self._x.queries)

    @property
    def keys(self) -> np.ndarray:
        """The position of each key: (tile, keys)."""
        return self._positions(self._y.keys, self._x.keys)

    def _positions(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        # (tile y, tile x, y, x)
        grid = y[:, None, :, None] * self.resolution[1] + x[None, :, None, :]
        return grid.reshape(self.count, -1)

    def answers(self, resolution: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """The tile of each position of the upper left part of the map, and its place there."""
        y, x = np.divmod(np.arange(resolution[0] * resolution[1]), resolution[1])
        (tile_y, in_y), (tile_x, in_x) = np.divmod(y, self._y.tile), np.divmod(x, self._x.tile)
        return tile_y * self._x.count + tile_x, in_y * self._x.tile + in_x

    def biases(self) -> tuple[np.ndarray, np.ndarray]:
        """Where biases stand in a flat table with ``OUTSIDE`` behind its last entry.

        Tiles alike have the same biases: along an axis the first, the last and those between.

        Returns:
            The entry for each query and key of each kind of tile, (kind, queries, keys), and the
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
    """Offsets that differ, and for each tile of an axis which of them are its own."""
    flat, kinds = np.unique(offsets.reshape(len(offsets), -1), axis=0, return_inverse=True)
    return flat.reshape(-1, *offsets.shape[1:]), kinds.reshape(-1)


class NeighbourhoodAttention(nn.Module):
    """Attention of each position to its neighbourhood; see above.

    A map with a side below the neighbourhood's is padded with zeros at the right and at the bottom,
    before the projection: what was padded has keys and values equal to the bias, and takes part.

    Args:
        dim: channels.
        num_heads: heads.
        kernel_size: side of the neighbourhood, in positions.
        resolution: height and width of the map.
        bias: whether the projection of q, k and v carries a bias.
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
        """Keep what the tiles tell as buffers: derived, in no file of weights."""
        self.tiles = tiles.count
        biases, kinds = tiles.biases()
        self.shape = biases.shape[1:]
        heads = np.arange(self.num_heads)
        tile, place = tiles.answers(self.resolution)
        first = (tile[:, None] * self.num_heads + heads) * self.shape[0]
        indices = {
            "bias_entries": biases,
            "tile_kinds": kinds,
            # (tile, head, place): rows of (position, head)
            "query_rows": tiles.queries[:, None] * self.num_heads + heads[:, None],
            "key_rows": tiles.keys[:, None] * self.num_heads + heads[:, None],
            # (position, head): rows of (tile, head, place)
            "answer_rows": first + place[:, None],
        }
        for name, index in indices.items():
            self.register_buffer(name, torch.from_numpy(index.reshape(-1)), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Keep the shape (batch, h * w, dim)."""
        q, k, v = self.qkv(self._pad(tokens)).chunk(3, dim=-1)
        if self.tiles > 1:
            return self.proj(self._in_tiles(q, k, v))
        return self.proj(self._cut(attend(q, k, v, self.num_heads, self.position_bias())))

    def position_bias(self) -> Tensor:
        """The bias of every query and key in every tile: (tile * head, queries, keys)."""
        table = functional.pad(self.rpb.flatten(1), (0, 1), value=OUTSIDE)
        kinds = table.index_select(1, self.get_buffer("bias_entries"))
        if self.tiles > 1:
            kinds = kinds.reshape(self.num_heads, -1, self.shape[0] * self.shape[1])
            kinds = kinds.transpose(0, 1).index_select(0, self.get_buffer("tile_kinds"))
        return kinds.reshape(-1, *self.shape)

    def _in_tiles(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend: padded tokens (batch, N, dim) to (batch, h * w, dim)."""
        dim = q.shape[-1]
        head_dim = dim // self.num_heads
        q = self._gathered(head_dim**-0.5 * q, "query_rows")
        k, v = (self._gathered(each, "key_rows") for each in (k, v))
        # (batch, tile * head, queries, keys)
        logits = q @ k.transpose(-2, -1) + self.position_bias()
        rows = (logits.softmax(dim=-1) @ v).reshape(-1, q.shape[1] * q.shape[2], head_dim)
        rows = rows.index_select(1, self.get_buffer("answer_rows"))
        return rows.reshape(-1, self.resolution[0] * self.resolution[1], dim)

    def _gathered(self, tokens: Tensor, index: str) -> Tensor:
        """Tokens (batch, N, dim) to (batch, tile * head, places, d)."""
        positions, dim = tokens.shape[1:]
        rows = tokens.reshape(-1, positions * self.num_heads, dim // self.num_heads)
        rows = rows.index_select(1, self.get_buffer(index))
        tiles = self.tiles * self.num_heads
        return rows.reshape(-1, tiles, rows.shape[1] // tiles, rows.shape[2])

    def _pad(self, tokens: Tensor) -> Tensor:
        """Tokens of the map to those of the padded map, (batch, N, dim)."""
        (height, width), (below, right) = self.resolution, self.padded
        if self.padded == self.resolution:
            return tokens
        maps = tokens.reshape(-1, height, width, tokens.shape[-1])
        return functional.pad(maps, (0, 0, 0, right - width, 0, below - height)).flatten(1, 2)

    def _cut(self, tokens: Tensor) -> Tensor:
        """Tokens of the padded map to those of the map."""
        if self.padded == self.resolution:
            return tokens
        height, width = self.resolution
        maps = tokens.reshape(-1, *self.padded, tokens.shape[-1])
        return maps[:, :height, :width].flatten(1, 2)
