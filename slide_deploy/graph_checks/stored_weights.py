"""Low-precision weights: the stored parts of each, and its dequantised floats.

    data ─► cast ─► - zero point ─► x scale ─► cast, reshape, transpose ─► weight

Every format writes a part of this chain, with operators of its own (``expansion``) or with common
ones. All inputs of the chain are constant, so rules about the network treat the chain as one
weight.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from slide_deploy.graph_checks.dialect import Kind
from slide_deploy.graph_checks.expansion import Array, check_broadcast
from slide_deploy.graph_checks.graph import (
    Constant,
    Graph,
    Node,
    Shape,
    bits_of,
    elements_of,
    fixed,
    kind_of,
)
from slide_deploy.graph_checks.graph_walks import LONGEST_WALK
from slide_deploy.graph_checks.shapes import permutation_of
from slide_deploy.saved.mlpackage.decompression import MAX_DENSE_ELEMENTS
from slide_deploy.saved.mlpackage.dtypes import unpack

_NARROW = re.compile(r"n?float[1-9](e|$)|u?int([1-8]|16)$")
_FEW_BITS = re.compile(r"(u?)int([1-7])$")
_DIFFERENCES = ("sub", "subtract")


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """One low-precision weight.

    Attributes:
        graph: its graph.
        node: the last operator of its chain.
        data: the stored numbers.
        scales: factors; the ends of a FakeQuantize do not count.
        zeros: zero points.
        palette: the floats that ``data`` indexes; None if ``data`` holds the numbers themselves.
        length: number of operators in its chain.
    """

    graph: Graph
    node: Node
    data: Constant
    scales: tuple[Constant, ...] = ()
    zeros: tuple[Constant, ...] = ()
    palette: Constant | None = None
    length: int = 1

    @property
    def name(self) -> str:
        """The name of the value that holds its floats."""
        return self.node.outputs[0]

    @property
    def shape(self) -> Shape | None:
        """The shape of its floats; that of ``data`` if the graph states none and it is the same."""
        known = self.graph.shape(self.name)
        has_shape_of_data = self.palette is None and self.node.operator in self.graph.dialect.expand
        return self.data.shape if known is None and has_shape_of_data else known

    @property
    def is_cast_only(self) -> bool:
        """Whether the chain only casts, without scale, zero point or palette."""
        return not self.scales and not self.zeros and self.palette is None

    @property
    def bits(self) -> int:
        """The width of a stored number; with a palette, the bits of an index."""
        if self.palette is not None:
            has_vectors = len(self.palette.shape) > 1  # (blocks..., entries, vector size)
            entries = self.palette.shape[-2] if has_vectors else self.palette.elements
            return max((entries - 1).bit_length(), 1)
        return bits_as_weight(self.data.dtype)

    def expand(self) -> Array:
        """The dequantised weight, float32.

        Raises:
            ValueError: the parts do not fit together, or have a type that cannot be read here.
        """
        return self._checked(self.graph.constants)

    def unscaled(self) -> Array:
        """The stored numbers minus zero points, float32: the floats with all scales set to 1.

        Raises:
            ValueError: as for ``expand``.
        """
        ones = {scale.name: _ones(scale) for scale in self.scales}
        return self._checked({**self.graph.constants, **ones})

    def _checked(self, constants: Mapping[str, Constant]) -> Array:
        floats = _evaluated(self.graph, constants, self.name)
        if floats.shape != self.shape:
            raise ValueError(f"it has the shape {floats.shape}")
        return floats


def bits_as_weight(dtype: str) -> int:
    """Bits of a stored number. A bool, and a type without a width in its name, count as 32."""
    return 32 if dtype == "bool" else bits_of(dtype) or 32


def stored_weights(graph: Graph) -> Mapping[str, StoredWeight]:
    """Every value that is computed from low-precision constants alone, by its name.

    A chain has an entry for each of its operators. The entries that operators outside the chain
    read are the weights of the network.
    """
    found: dict[str, StoredWeight] = {}
    for node in graph.order:
        are_constant = all(name in graph.constants or name in found for name in node.inputs if name)
        if len(node.outputs) == 1 and node.inputs and are_constant:
            weight = _next(graph, node, found)
            if weight is not None and _is_kept(weight):
                found[weight.name] = weight
    return found


def numbers(constant: Constant) -> Array:
    """The numbers of a constant, including types of less than a byte.

    Raises:
        ValueError: the type cannot be read here.
    """
    array = constant.array()
    if array is not None:
        return array
    few = _FEW_BITS.match(constant.dtype)
    if few is None:
        raise ValueError(f"{constant.dtype} cannot be read")
    bits = int(few[2])
    whole = unpack(np.ascontiguousarray(constant.load()), bits, constant.elements).astype(np.int16)
    if not few[1]:
        whole = np.where(whole >= 1 << (bits - 1), whole - (1 << bits), whole)
    return whole.reshape(constant.shape)


def _is_kept(weight: StoredWeight) -> bool:
    """Whether a weight has a known size and a short chain, as quantisers write it."""
    sizes = fixed(weight.shape)
    if sizes is None or weight.length > LONGEST_WALK:
        return False
    return elements_of(sizes) <= MAX_DENSE_ELEMENTS


def _next(graph: Graph, node: Node, found: Mapping[str, StoredWeight]) -> StoredWeight | None:
    """The weight that an operator computes from constants and weights; None if it computes none."""
    before = [found.get(name) for name in node.inputs]
    stored = [graph.constants.get(name) for name in node.inputs]
    kind = kind_of(graph, node)
    made = None if stored[0] is None else StoredWeight(graph, node, stored[0])
    if node.operator in graph.dialect.expand:
        parts = [each for each in stored[1:] if each is not None]
        if node.operator in graph.dialect.palettes:
            return made and replace(made, palette=parts[0] if parts else None)
        if before[0] is not None:  # a cast before a FakeQuantize
            return _passed_on(node, before[0])
        if made is None or node.operator in graph.dialect.ranges:
            return made
        return replace(made, scales=tuple(parts[:1]), zeros=tuple(parts[1:2]))
    origin = next((weight for weight in before if weight is not None), None)
    narrow = next((each for each in stored if each is not None and is_narrow(each)), None)
    if kind in (Kind.CAST, Kind.RESHAPE, Kind.TRANSPOSE):
        if before[0] is not None:
            return _passed_on(node, before[0])
        return made if made is not None and is_narrow(made.data) else None
    other = _other(graph, node, origin, found)
    if origin is None or other is None or narrow is not None:
        return None
    if kind is Kind.MULTIPLY:
        return replace(_passed_on(node, origin), scales=(*origin.scales, other))
    if node.operator.lower() in _DIFFERENCES and before[0] is origin:
        return replace(_passed_on(node, origin), zeros=(*origin.zeros, other))
    return None


def _passed_on(node: Node, weight: StoredWeight) -> StoredWeight:
    """The same weight after one more operator of its chain."""
    return replace(weight, node=node, length=weight.length + 1)


def _other(
    graph: Graph, node: Node, origin: StoredWeight | None, found: Mapping[str, StoredWeight]
) -> Constant | None:
    """The other operand of a binary operator on a weight, if it is a constant, possibly cast."""
    names = [name for name in node.inputs if origin is None or name != origin.name]
    if len(node.inputs) != 2 or len(names) != 1:
        return None
    if names[0] in found:
        return found[names[0]].data if found[names[0]].is_cast_only else None
    return graph.constants.get(names[0])


def is_narrow(constant: Constant) -> bool:
    """Whether a constant holds integers of at most 16 bits or floats of fewer than 16."""
    return bool(_NARROW.match(constant.dtype))


def _ones(constant: Constant) -> Constant:
    """A float constant of the same shape, filled with 1."""

    def load() -> NDArray[np.uint8]:
        return np.ones(constant.elements, np.float32).view(np.uint8)

    size = 4 * constant.elements
    return Constant(constant.name, "float32", constant.shape, size, constant.source, load)


def _evaluated(graph: Graph, constants: Mapping[str, Constant], name: str) -> Array:
    """Compute a value that depends on constants alone."""
    if name in constants:
        return numbers(constants[name])
    node = graph.producers[name]
    inputs = [_evaluated(graph, constants, each) if each else None for each in node.inputs]
    expand = graph.dialect.expand.get(node.operator)
    if expand is not None:
        return expand(node, inputs)
    first, kind = inputs[0], kind_of(graph, node)
    if first is None:
        raise ValueError(f"{node.operator} has no first input")
    if kind is Kind.CAST:
        return first.astype(np.float32)
    if kind is Kind.RESHAPE:
        return first.reshape([size for size in graph.shape(name) or () if isinstance(size, int)])
    if kind is Kind.TRANSPOSE:
        return first.transpose(permutation_of(graph, node))
    left, right = (_float(each) for each in inputs)
    check_broadcast(left, right)
    with np.errstate(all="ignore"):
        return left * right if kind is Kind.MULTIPLY else left - right


def _float(array: Array | None) -> NDArray[np.float32]:
    return np.zeros((), np.float32) if array is None else array.astype(np.float32)
