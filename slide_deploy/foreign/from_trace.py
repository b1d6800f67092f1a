"""Read a folded slide attention from the traced program of a layer, however the layer is written.

Between its anchors a slide attention is linear, so its responses to unit inputs are its weights:

    rows of q, k and v   q, k and v for an input with a different unit vector at each position
    keys[d, p]           d logits[p] / d q[d], for an impulse in k
    values[d, p]         out[d] with all attention weight on offset p, for an impulse in v
    output projection    d output / d out

No part needs a name. Normalisations after branches, factors, tables and any number of branches are
included in these numbers. The result is a reading like any other, to be proved before use.
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
    find_sources,
    random_positive,
    shape_of,
)
from slide_deploy.foreign.program import AttentionProgram, Values
from slide_deploy.foreign.proof import Reading
from slide_deploy.foreign.sharing import share_kernels
from slide_deploy.foreign.traced_branches import describe_branches
from slide_deploy.models.slide_attention import (
    PADDING_MODES,
    FoldedSlideAttention,
    SlideAttentionConfig,
)

# Maps factors, of the shape of the logits, to numbers (feature, position).
_Response = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class _FeatureOrder:
    """Indices that bring the features of all anchors into the same order.

    Attributes:
        heads: number of heads.
        q: features of q, grouped by head.
        k: for each feature in ``q``, the feature of k that it is multiplied with.
        out: features of out, grouped by head; the heads are in the order of ``q``.
        v: for each feature in ``out``, the feature of v that it is computed from.
    """

    heads: int
    q: Tensor
    k: Tensor
    out: Tensor
    v: Tensor


def read_trace(program: AttentionProgram, anchors: Anchors, kernel_size: int) -> Iterator[Reading]:
    """Yield what a program computes, as one reading per padding mode.

    Args:
        program: traced layer.
        anchors: nodes of the slide attention in it.
        kernel_size: side of the neighbourhood.

    Raises:
        UnreadableError: if the program is not linear between the anchors, or mixes features.
    """
    folded = _Reader(program, anchors, kernel_size).folded()
    for mode in PADDING_MODES:
        padded = FoldedSlideAttention(replace(folded.config, padding_mode=mode)).double().eval()
        padded.load_state_dict(folded.state_dict())
        yield describe_branches(program, anchors, padded.requires_grad_(False))


@dataclass(frozen=True)
class _Side:
    """The keys or the values.

    Attributes:
        source: the anchor k or v.
        respond: given a value of ``source`` and the program's constants, returns the response of
            the keys or values to factors.
    """

    source: Node
    respond: Callable[[Tensor, Values], _Response]


class _Reader:
    """Reads the weights of a program between its anchors."""

    def __init__(self, program: AttentionProgram, anchors: Anchors, kernel_size: int) -> None:
        self.program, self.anchors, self.side = program, anchors, kernel_size
        _, self.channels, self.height, self.width = program.shape
        self.row, self.column = self.height // 2, self.width // 2
        self.center = self.row * self.width + self.column
        self.keys = _Side(anchors.k, self._respond_keys)
        self.values = _Side(anchors.v, self._respond_values)

    @torch.no_grad()
    def folded(self) -> FoldedSlideAttention:
        """Return the attention, with zero padding.

        Raises:
            UnreadableError: if the program is not linear between its anchors, or its number of
                features does not divide its number of channels.
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
        for target, read in zip(folded.qkv.parameters(), zip(*rows, strict=True), strict=True):
            # (q|k|v, head * d, ...) -> (head, q|k|v, d, ...)
            split = torch.stack(read).unflatten(1, (order.heads, -1))
            target.copy_(split.transpose(0, 1).flatten(0, 2))
        for conv, side, chosen in (
            (folded.key_conv, self.keys, order.q),
            (folded.value_conv, self.values, order.out),
        ):
            # (head * d, offset, ...) -> (head * d * offset, ...)
            for target, tensor in zip(conv.parameters(), self._kernel(side), strict=True):
                target.copy_(tensor[chosen].flatten(0, 1).reshape(target.shape))
        weight, bias = self._output_projection()
        folded.proj.weight.copy_(weight[:, order.out])
        folded.proj.bias.copy_(bias)
        if not all(bool(tensor.isfinite().all()) for tensor in folded.parameters()):
            raise UnreadableError("it is not linear between its queries, keys and values")
        share_kernels(folded)
        return folded

    def _order(self) -> _FeatureOrder:
        """Pair the features of the anchors, and group them by head."""
        q_heads, out_heads = self._head_of_feature(self.keys), self._head_of_feature(self.values)
        if q_heads.sort().values.tolist() != out_heads.sort().values.tolist():
            raise UnreadableError("its queries and its values have different heads")
        counts = set(q_heads.unique(return_counts=True)[1].tolist())
        if len(counts) != 1:
            raise UnreadableError("its heads differ in width")
        q, out = q_heads.argsort(stable=True), out_heads.argsort(stable=True)
        k, v = self._partners(self.keys)[q], self._partners(self.values)[out]
        return _FeatureOrder(len(q_heads.unique()), q, k, out, v)

    def _head_of_feature(self, side: _Side) -> Tensor:
        """Return, for each feature, the number of the logit at the centre that depends on it.

        All features of a head have the same number.
        """
        response = side.respond(random_positive(shape_of(side.source)), self.program.random)
        zero = response(self._factors())
        one_offset = zero.new_empty(shape_of(self.anchors.softmax)).select(self.anchors.axis, 0)

        def respond(mask: Tensor) -> list[Tensor]:
            factors = self._factors(0, mask.reshape(one_offset.shape))
            return [differs(response(factors), zero)[:, self.center]]

        return _single(find_sources(respond, one_offset.numel())[0])

    def _partners(self, side: _Side) -> Tensor:
        """Return, for each feature of q or out, the feature of k or v that belongs to it."""
        places = self.anchors.places[side.source]
        start, step = (
            random_positive(shape_of(side.source)),
            random_positive(shape_of(side.source), 1),
        )
        before = side.respond(start, self.program.random)(self._factors(0))

        def respond(mask: Tensor) -> list[Tensor]:
            moved = start.flatten().clone()
            moved[places[mask]] += step.flatten()[places[mask]]
            response = side.respond(moved.reshape(start.shape), self.program.random)
            return [differs(response(self._factors(0)), before)[:, self.center]]

        return _single(find_sources(respond, len(places))[0])

    def _projections(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield weight rows (feature, C) and biases (feature) of q, k and v."""
        program, anchors = self.program, self.anchors
        nodes = (anchors.q, anchors.k, anchors.v)

        def read(x: Tensor) -> list[Tensor]:
            values = program.evaluate(nodes, {program.x: x}, program.weights)
            flat = [value.flatten() for value in values]
            return [value[anchors.places[node]] for value, node in zip(flat, nodes, strict=True)]

        biases = read(torch.zeros(program.shape, dtype=torch.float64))
        rows = [torch.zeros(len(bias), self.channels, dtype=torch.float64) for bias in biases]
        for channels, positions in self._chunks():
            x = torch.zeros(program.shape, dtype=torch.float64)
            x.flatten(2)[0, channels, positions] = 1
            for row, value, bias in zip(rows, read(x), biases, strict=True):
                row[:, channels] = (value - bias)[:, positions]
        return ((row, bias[:, self.center]) for row, bias in zip(rows, biases, strict=True))

    def _kernel(self, side: _Side) -> tuple[Tensor, Tensor]:
        """Return kernel (feature, offset, k, k) and bias (feature, offset) of keys or values."""

        def outputs(value: Tensor) -> Tensor:  # (feature, offset, position)
            response = side.respond(value, self.program.weights)
            return torch.stack([response(self._factors(p)) for p in range(self.side**2)], 1)

        impulse = torch.zeros(shape_of(side.source), dtype=torch.float64)
        bias = outputs(impulse)
        impulse.view(-1)[self.anchors.places[side.source][:, self.center]] = 1
        weight = (outputs(impulse) - bias).unflatten(2, (self.height, self.width))
        radius = self.side // 2
        rows = slice(self.row - radius, self.row + radius + 1)
        columns = slice(self.column - radius, self.column + radius + 1)
        # A tap above the centre moves the impulse to a position below it, hence the flip.
        return weight[..., rows, columns].flip(2, 3), bias[..., self.center]

    def _output_projection(self) -> tuple[Tensor, Tensor]:
        """Return weight (C, feature) and bias (C) of the output projection."""
        program, anchors = self.program, self.anchors
        places = anchors.places[anchors.out]
        with torch.enable_grad():
            out = torch.zeros(shape_of(anchors.out), dtype=torch.float64, requires_grad=True)
            (y,) = program.evaluate([program.y], {anchors.out: out}, program.weights)
            y = y.flatten(2)[0]
            weight = torch.zeros(self.channels, len(places), dtype=torch.float64)
            for channels, positions in self._chunks():
                picked = y[channels, positions].sum()
                (found,) = torch.autograd.grad(picked, out, retain_graph=True)
                weight[channels] = found.flatten()[places][:, positions].T
        return weight, y.detach()[:, self.center]

    def _respond_keys(self, k: Tensor, weights: Values) -> _Response:
        """Map factors to d sum(factors * logits) / d q, (feature, position), for a given k."""
        program, anchors = self.program, self.anchors
        with torch.enable_grad():
            q = torch.zeros(shape_of(anchors.q), dtype=torch.float64, requires_grad=True)
            given = {anchors.q: q, anchors.k: k}
            (logits,) = program.evaluate([anchors.logits], given, weights)

        def response(factors: Tensor) -> Tensor:
            (found,) = torch.autograd.grad(logits, q, factors, retain_graph=True)
            return found.flatten()[anchors.places[anchors.q]]

        return response

    def _respond_values(self, v: Tensor, weights: Values) -> _Response:
        """Map attention weights to out, (feature, position), for a given v."""
        program, anchors = self.program, self.anchors
        # Nodes that do not depend on the attention weights are evaluated once.
        late = set(program.between(anchors.softmax, anchors.out))
        used = {each for node in late - {anchors.softmax} for each in node.all_input_nodes}
        early = used - late
        given = dict(zip(early, program.evaluate(early, {anchors.v: v}, weights), strict=True))

        def response(factors: Tensor) -> Tensor:
            (out,) = program.evaluate([anchors.out], given | {anchors.softmax: factors}, weights)
            return out.flatten()[anchors.places[anchors.out]]

        return response

    def _factors(self, offset: int | None = None, value: Tensor | float = 1.0) -> Tensor:
        """Return a tensor like the logits: ``value`` at one offset, zero everywhere else."""
        factors = torch.zeros(shape_of(self.anchors.softmax), dtype=torch.float64)
        if offset is not None:
            factors.select(self.anchors.axis, offset).copy_(torch.as_tensor(value))
        return factors

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (channels, positions) in pairs, as many per chunk as there are positions."""
        for channels in torch.arange(self.channels).split(self.height * self.width):
            yield channels, torch.arange(len(channels))


def _single(found: Tensor) -> Tensor:
    if bool((found < 0).any()):
        raise UnreadableError("its keys and values mix features")
    return found
