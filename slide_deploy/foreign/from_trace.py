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
from slide_deploy.foreign.program import AttentionProgram, Values
from slide_deploy.foreign.readings import Reading
from slide_deploy.foreign.sharing import share_kernels
from slide_deploy.foreign.traced_branches import with_branches
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    FoldedSlideAttention,
    SlideAttentionConfig,
)

# From factors, of the shape of the logits, to (feature, position).
_Read = Callable[[Tensor], Tensor]


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


def read_trace(program: AttentionProgram, anchors: Anchors, kernel_size: int) -> Iterator[Reading]:
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


@dataclass(frozen=True)
class _Side:
    """The keys or the values.

    Attributes:
        source: the map that they come from.
        read: from a value of that map and the weights of the program to what reads them.
    """

    source: Node
    read: Callable[[Tensor, Values], _Read]


class _Reader:
    """Reads the weights of a program between its anchors."""

    def __init__(self, program: AttentionProgram, anchors: Anchors, kernel_size: int) -> None:
        self.program, self.anchors, self.side = program, anchors, kernel_size
        _, self.channels, self.height, self.width = program.shape
        self.row, self.column = self.height // 2, self.width // 2
        self.center = self.row * self.width + self.column
        self.keys = _Side(anchors.k, self._read_keys)
        self.values = _Side(anchors.v, self._read_values)

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
        for conv, side, chosen in (
            (folded.key_conv, self.keys, order.q),
            (folded.value_conv, self.values, order.out),
        ):
            # (head * d, offset, ...) -> (head * d * offset, ...)
            for ours, read in zip(conv.parameters(), self._kernel(side), strict=True):
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
        q_heads, out_heads = self._takes_part(self.keys), self._takes_part(self.values)
        if q_heads.sort().values.tolist() != out_heads.sort().values.tolist():
            raise UnreadableError("its queries and its values have different heads")
        counts = set(q_heads.unique(return_counts=True)[1].tolist())
        if len(counts) != 1:
            raise UnreadableError("its heads differ in width")
        q, out = q_heads.argsort(stable=True), out_heads.argsort(stable=True)
        k, v = self._partners(self.keys)[q], self._partners(self.values)[out]
        return _Order(len(q_heads.unique()), q, k, out, v)

    def _takes_part(self, side: _Side) -> Tensor:
        """For each feature, in which logit or weight it takes part; those of a head share one."""
        read = side.read(drawn(shape_of(side.source)), self.program.random)
        none = read(self._factors())
        part = none.new_empty(shape_of(self.anchors.softmax)).select(self.anchors.axis, 0)

        def respond(mask: Tensor) -> list[Tensor]:
            factors = self._factors(0, mask.reshape(part.shape))
            return [differs(read(factors), none)[:, self.center]]

        return _known(sources(respond, part.numel())[0])

    def _partners(self, side: _Side) -> Tensor:
        """For each feature of q or out, the feature of a map that its keys or values come from."""
        places = self.anchors.places[side.source]
        start, step = drawn(shape_of(side.source)), drawn(shape_of(side.source), 1)
        before = side.read(start, self.program.random)(self._factors(0))

        def respond(mask: Tensor) -> list[Tensor]:
            moved = start.flatten().clone()
            moved[places[mask]] += step.flatten()[places[mask]]
            read = side.read(moved.reshape(start.shape), self.program.random)
            return [differs(read(self._factors(0)), before)[:, self.center]]

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

    def _kernel(self, side: _Side) -> tuple[Tensor, Tensor]:
        """Of the keys or values: (feature, offset, k, k) and (feature, offset)."""

        def answer(maps: Tensor) -> Tensor:  # (feature, offset, position)
            read = side.read(maps, self.program.weights)
            return torch.stack([read(self._factors(p)) for p in range(self.side**2)], 1)

        impulse = torch.zeros(shape_of(side.source), dtype=torch.float64)
        bias = answer(impulse)
        impulse.view(-1)[self.anchors.places[side.source][:, self.center]] = 1
        weight = (answer(impulse) - bias).unflatten(2, (self.height, self.width))
        radius = self.side // 2
        rows = slice(self.row - radius, self.row + radius + 1)
        columns = slice(self.column - radius, self.column + radius + 1)
        # A tap above the middle brings the impulse to a position below it.
        return weight[..., rows, columns].flip(2, 3), bias[..., self.center]

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

    def _read_keys(self, k: Tensor, weights: Values) -> _Read:
        """From factors on the logits to their derivative by q: (feature, position)."""
        program, anchors = self.program, self.anchors
        with torch.enable_grad():
            q = torch.zeros(shape_of(anchors.q), dtype=torch.float64, requires_grad=True)
            given = {anchors.q: q, anchors.k: k}
            (logits,) = program.evaluate([anchors.logits], given, weights)

        def read(factors: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(logits, q, factors, retain_graph=True)
            return found.flatten()[anchors.places[anchors.q]]

        return read

    def _read_values(self, v: Tensor, weights: Values) -> _Read:
        """From weights of the softmax to out: (feature, position)."""
        program, anchors = self.program, self.anchors
        # What does not depend on the weights of the softmax is computed once.
        late = set(program.between(anchors.softmax, anchors.out))
        used = {each for node in late - {anchors.softmax} for each in node.all_input_nodes}
        early = used - late
        given = dict(zip(early, program.evaluate(early, {anchors.v: v}, weights), strict=True))

        def read(factors: Tensor) -> Tensor:
            (out,) = program.evaluate([anchors.out], given | {anchors.softmax: factors}, weights)
            return out.flatten()[anchors.places[anchors.out]]

        return read

    def _factors(self, offset: int | None = None, value: Tensor | float = 1.0) -> Tensor:
        """A number for every logit: a value for those of an offset, zeros for all others."""
        factors = torch.zeros(shape_of(self.anchors.softmax), dtype=torch.float64)
        if offset is not None:
            factors.select(self.anchors.axis, offset).copy_(torch.as_tensor(value))
        return factors

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Every channel with a position of its own, as many at once as there are positions."""
        for channels in torch.arange(self.channels).split(self.height * self.width):
            yield channels, torch.arange(len(channels))


def _known(found: Tensor) -> Tensor:
    if bool((found < 0).any()):
        raise UnreadableError("its keys and values mix features")
    return found
