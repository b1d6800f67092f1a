"""A folded slide attention from the traced program of a layer, however that is written.

Between its anchors a slide attention is linear, so that its answers to unit inputs are its weights:

    rows of q, k and v   q, k and v of a map with another unit vector at each position
    keys[d, p]           the derivative of the logits of offset p by q[d], for an impulse in k
    values[d, p]         out[d] with all weight on offset p, for an impulse in v
    last projection      the derivative of the answer by out

So parts need no names: normalisations behind branches, factors and tables are within these numbers
wherever they stand, and any number of branches is. What comes out is a guess like any other, which
is believed when it is proved.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.foreign.anchors import (
    Anchors,
    UnreadableError,
    differs,
    drawn,
    shape_of,
    sources,
)
from slide_deploy.foreign.program import Program, Values
from slide_deploy.foreign.readings import Reading
from slide_deploy.foreign.sharing import share_kernels
from slide_deploy.foreign.traced_branches import with_branches
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    FoldedSlideAttention,
    SlideAttentionConfig,
)

# From a map and the weights of the program to (feature, offset, position).
_Read = Callable[[Tensor, Values], Tensor]


@dataclass(frozen=True)
class _Order:
    """Which element of one anchor goes with which of another.

    Attributes:
        heads: number of heads.
        q: features of q, those of a head together.
        k: the feature of k that makes the key of each of these.
        out: features of out, those of a head together, heads as in ``q``.
        v: the feature of v that makes the value of each of these.
    """

    heads: int
    q: Tensor
    k: Tensor
    out: Tensor
    v: Tensor


def read_trace(program: Program, anchors: Anchors, kernel_size: int) -> Iterator[Reading]:
    """What a program computes: once for every padding mode.

    Args:
        program: of a layer.
        anchors: of a slide attention in it.
        kernel_size: side of the neighbourhood.

    Raises:
        UnreadableError: if it does something else between its anchors.
    """
    folded = _Reader(program, anchors, kernel_size).folded()
    for mode in PADDING_MODES:
        padded = FoldedSlideAttention(replace(folded.config, padding_mode=mode)).double().eval()
        padded.load_state_dict(folded.state_dict())
        yield with_branches(program, anchors, padded.requires_grad_(False))


class _Reader:
    """Reads the weights of a program between its anchors."""

    def __init__(self, program: Program, anchors: Anchors, kernel_size: int) -> None:
        self.program, self.anchors, self.side = program, anchors, kernel_size
        _, self.channels, self.height, self.width = program.shape
        self.row, self.column = self.height // 2, self.width // 2
        self.center = self.row * self.width + self.column

    @torch.no_grad()
    def folded(self) -> FoldedSlideAttention:
        """The attention, with zeros outside the map.

        Raises:
            UnreadableError: if the program is not linear where it should be, or its features do
                not divide its channels.
        """
        order = self._order()
        features = len(order.q)
        if self.channels % features:
            raise UnreadableError(
                f"its heads have {features} features together, which do not divide its "
                f"{self.channels} channels"
            )
        reduction = self.channels // features
        config = SlideAttentionConfig(
            self.channels, order.heads, kernel_size=self.side, dim_reduction=reduction
        )
        folded = FoldedSlideAttention(config).double().eval()
        rows = [
            (weight[chosen], bias[chosen])
            for (weight, bias), chosen in zip(
                self._projections(), (order.q, order.k, order.v), strict=True
            )
        ]
        for ours, theirs in zip(folded.qkv.parameters(), zip(*rows, strict=True), strict=True):
            # (q|k|v, head * d, ...) -> (head, q|k|v, d, ...)
            split = torch.stack(theirs).unflatten(1, (order.heads, -1))
            ours.copy_(split.transpose(0, 1).flatten(0, 2))
        for conv, respond, source, chosen in (
            (folded.key_conv, self._keys, self.anchors.k, order.q),
            (folded.value_conv, self._values, self.anchors.v, order.out),
        ):
            # (head * d, offset, ...) -> (head * d * offset, ...)
            for ours, read in zip(conv.parameters(), self._kernel(respond, source), strict=True):
                ours.copy_(read[chosen].flatten(0, 1).reshape(ours.shape))
        weight, bias = self._last_projection()
        folded.proj.weight.copy_(weight[:, order.out])
        folded.proj.bias.copy_(bias)
        if not all(bool(tensor.isfinite().all()) for tensor in folded.parameters()):
            raise UnreadableError("it is not linear between its queries, keys and values")
        share_kernels(folded)
        return folded

    def _order(self) -> _Order:
        """Pair the features of the anchors, and gather them by heads."""
        anchors = self.anchors
        q_heads, out_heads = self._logits_of_queries(), self._weights_of_outs()
        if q_heads.sort().values.tolist() != out_heads.sort().values.tolist():
            raise UnreadableError("its queries and its values have different heads")
        counts = set(q_heads.unique(return_counts=True)[1].tolist())
        if len(counts) != 1:
            raise UnreadableError("its heads differ in width")
        q, out = q_heads.argsort(stable=True), out_heads.argsort(stable=True)
        k = self._partners(anchors.k, self._keys)[q]
        v = self._partners(anchors.v, self._values)[out]
        return _Order(len(q_heads.unique()), q, k, out, v)

    def _logits_of_queries(self) -> Tensor:
        """For each feature of q, which logit it takes part in; those of a head share one."""
        anchors = self.anchors
        k, shape = drawn(shape_of(anchors.k)), self._one_offset()

        def respond(mask: Tensor) -> list[Tensor]:
            weights = mask.reshape(shape)
            found = self._by_query(k, lambda logits: (self._offset(logits, 0) * weights).sum())
            return [found[:, self.center] != 0]

        return _known(sources(respond, math.prod(shape))[0])

    def _weights_of_outs(self) -> Tensor:
        """For each feature of out, which weight of the softmax it takes part in."""
        anchors = self.anchors
        v, shape = drawn(shape_of(anchors.v)), self._one_offset()
        none = self._outs(v, torch.zeros(shape_of(anchors.softmax), dtype=torch.float64))

        def respond(mask: Tensor) -> list[Tensor]:
            weights = torch.zeros(shape_of(anchors.softmax), dtype=torch.float64)
            self._offset(weights, 0).copy_(mask.reshape(shape))
            return [differs(self._outs(v, weights), none)[:, self.center]]

        return _known(sources(respond, math.prod(shape))[0])

    def _partners(self, source: Node, read: _Read) -> Tensor:
        """For each feature of q or out, the feature of a map that its keys or values come from."""
        places = self.anchors.places[source]
        start, step = drawn(shape_of(source)), drawn(shape_of(source), 1)
        before = read(start, self.program.random)

        def respond(mask: Tensor) -> list[Tensor]:
            moved = start.flatten().clone()
            moved[places[mask]] += step.flatten()[places[mask]]
            after = read(moved.reshape(start.shape), self.program.random)
            return [differs(after, before)[:, 0, self.center]]

        return _known(sources(respond, len(places))[0])

    def _projections(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Rows and biases of q, k and v: (feature, C) and (feature)."""
        program, anchors = self.program, self.anchors
        nodes = (anchors.q, anchors.k, anchors.v)

        def read(maps: Tensor) -> list[Tensor]:
            values = program.evaluate(nodes, {program.x: maps}, program.weights)
            flat = [value.flatten() for value in values]
            return [value[anchors.places[node]] for value, node in zip(flat, nodes, strict=True)]

        biases = read(torch.zeros(program.shape, dtype=torch.float64))
        rows = [torch.zeros(len(bias), self.channels, dtype=torch.float64) for bias in biases]
        for channels, positions in self._chunks():
            maps = torch.zeros(program.shape, dtype=torch.float64)
            maps.flatten(2)[0, channels, positions] = 1
            for row, value, bias in zip(rows, read(maps), biases, strict=True):
                row[:, channels] = (value - bias)[:, positions]
        return ((row, bias[:, self.center]) for row, bias in zip(rows, biases, strict=True))

    def _kernel(self, read: _Read, source: Node) -> tuple[Tensor, Tensor]:
        """Of the keys or values: (feature, offset, k, k) and (feature, offset)."""
        places, weights = self.anchors.places[source], self.program.weights
        impulse = torch.zeros(shape_of(source), dtype=torch.float64)
        bias = read(impulse, weights)
        impulse.view(-1)[places[:, self.center]] = 1
        answer = (read(impulse, weights) - bias).unflatten(2, (self.height, self.width))
        radius = self.side // 2
        rows = slice(self.row - radius, self.row + radius + 1)
        columns = slice(self.column - radius, self.column + radius + 1)
        # A tap above the middle brings the impulse to a position below it.
        return answer[..., rows, columns].flip(2, 3), bias[..., self.center]

    def _last_projection(self) -> tuple[Tensor, Tensor]:
        """Weight (C, feature) and bias (C)."""
        program, anchors = self.program, self.anchors
        places = anchors.places[anchors.out]
        with torch.enable_grad():
            out = torch.zeros(shape_of(anchors.out), dtype=torch.float64, requires_grad=True)
            (answer,) = program.evaluate([program.y], {anchors.out: out}, program.weights)
            answer = answer.flatten(2)[0]
            weight = torch.zeros(self.channels, len(places), dtype=torch.float64)
            for channels, positions in self._chunks():
                picked = answer[channels, positions].sum()
                (found,) = torch.autograd.grad(picked, out, retain_graph=True)
                weight[channels] = found.flatten()[places][:, positions].T
        return weight, answer.detach()[:, self.center]

    def _keys(self, k: Tensor, weights: Values) -> Tensor:
        """Keys for a map: (feature of q, offset, position)."""
        offsets = []
        for p in range(self.side**2):

            def of(logits: Tensor, offset: int = p) -> Tensor:
                return self._offset(logits, offset).sum()

            offsets.append(self._by_query(k, of, weights))
        return torch.stack(offsets, 1)

    def _values(self, v: Tensor, weights: Values) -> Tensor:
        """Values for a map: (feature of out, offset, position)."""
        offsets = []
        for p in range(self.side**2):
            attention = torch.zeros(shape_of(self.anchors.softmax), dtype=torch.float64)
            self._offset(attention, p).fill_(1)
            offsets.append(self._outs(v, attention, weights))
        return torch.stack(offsets, 1)

    def _by_query(
        self, k: Tensor, of: Callable[[Tensor], Tensor], weights: Values | None = None
    ) -> Tensor:
        """The derivative of something of the logits by q: (feature, position)."""
        program, anchors = self.program, self.anchors
        with torch.enable_grad():
            q = torch.zeros(shape_of(anchors.q), dtype=torch.float64, requires_grad=True)
            given = {anchors.q: q, anchors.k: k}
            (logits,) = program.evaluate([anchors.logits], given, weights or program.random)
            (found,) = torch.autograd.grad(of(logits), q)
        return found.flatten()[anchors.places[anchors.q]]

    def _outs(self, v: Tensor, attention: Tensor, weights: Values | None = None) -> Tensor:
        """Out for a map and weights of the softmax: (feature, position)."""
        program, anchors = self.program, self.anchors
        given = {anchors.v: v, anchors.softmax: attention}
        (out,) = program.evaluate([anchors.out], given, weights or program.random)
        return out.flatten()[anchors.places[anchors.out]]

    def _offset(self, logits: Tensor, offset: int) -> Tensor:
        return logits.select(self.anchors.axis, offset)

    def _one_offset(self) -> tuple[int, ...]:
        shape = list(shape_of(self.anchors.softmax))
        del shape[self.anchors.axis]
        return tuple(shape)

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every channel with a position of its own, as many at once as there are positions."""
        for channels in torch.arange(self.channels).split(self.height * self.width):
            yield channels, torch.arange(len(channels))


def _known(found: Tensor) -> Tensor:
    if bool((found < 0).any()):
        raise UnreadableError("its keys and values mix features")
    return found
