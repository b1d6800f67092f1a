"""What each way of writing a slide attention must look like: its signature.

    depthwise   2 convolutions             groups C, 1 -> K, kernel k x k
    per-offset  2K convolutions            groups C, 1 -> 1, kernel k x k
                K sums                     groups heads, d -> 1, kernel 1 x 1
                K spreads                  heads -> C, kernel 1 x 1
    broadcast   as per-offset, no spreads
    running-mean  as per-offset, a convolution, a sum and a spread less, and
                1 product                  K -> 2 (K - 1) running sums
    dual        K + 1 convolutions a side  groups heads, d -> K and back, kernel 1 x 1
    flat        K products                 d -> K - 1
                K + 1 products             K -> d

K = k * k offsets, d features of a head. In strips there is as much of everything in each. Names do
not survive conversion and geometry does; so operators are counted by their geometry. Where the bias
of the keys cannot be a constant on what they read, flat has a product more, which is not asked for:
nothing in a file tells whether it could.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from slide_deploy.graph_checks.convolutions import Convolution, convolutions
from slide_deploy.graph_checks.declarations import Declaration
from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.graph_checks.graph_walks import constant_values
from slide_deploy.graph_checks.kinds import Kind, kind_of
from slide_deploy.graph_checks.normalisations import normalisations
from slide_deploy.graph_checks.products import stored_transposed


@dataclass(frozen=True)
class Geometry:
    """What tells one kind of operator that mixes channels by weights from another.

    Attributes:
        groups: independent parts; 1 for a product.
        inputs: channels that one part reads.
        outputs: channels that one part computes.
        kernel: sizes of the neighbourhood; () for a product, as all that follows.
        pads: zeros before and behind each axis; () also where they are unknown or do not matter.
        strides: steps.
        dilations: distances between taps.
    """

    groups: int
    inputs: int
    outputs: int
    kernel: tuple[int, ...] = ()
    pads: tuple[tuple[int, int], ...] = ()
    strides: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()

    @property
    def padded_anyhow(self) -> "Geometry":
        """The same, whatever the padding."""
        return replace(self, pads=())

    @property
    def is_grouped(self) -> bool:
        """Whether it tells a slide attention: other layers of these models have no groups."""
        return self.groups > 1

    def __str__(self) -> str:
        if not self.kernel:
            return f"matrix products {self.inputs} -> {self.outputs}"
        text = f"convolutions of groups {self.groups}, {self.outputs} outputs a group"
        if not self.is_grouped:
            text = f"convolutions {self.inputs} -> {self.outputs}"
        text += f", kernel {'x'.join(map(str, self.kernel))}"
        pads = {pad for pair in self.pads for pad in pair}
        if pads:
            text += f", padding {pads.pop() if len(pads) == 1 else self.pads}"
        for name, steps in (("stride", self.strides), ("dilation", self.dilations)):
            if set(steps) != {1}:
                text += f", {name} {steps}"
        return text


Signature = Callable[[Declaration], Counter[Geometry]]
"""From an attention to how many operators of which geometry one strip of it has."""


def _depthwise(attention: Declaration) -> Counter[Geometry]:
    return Counter({_neighbours(attention, outputs=attention.offsets): 2})


def _per_offset(attention: Declaration) -> Counter[Geometry]:
    found = _broadcast(attention)
    found[_pointwise(1, attention.heads, attention.channels)] += attention.offsets
    return found


def _broadcast(attention: Declaration) -> Counter[Geometry]:
    offsets = attention.offsets
    found = Counter({_neighbours(attention, outputs=1): 2 * offsets})
    found[_pointwise(attention.heads, attention.head_dim, 1)] += offsets
    return found


def _running_mean(attention: Declaration) -> Counter[Geometry]:
    offsets, relative = attention.offsets, attention.offsets - 1
    found = Counter({_neighbours(attention, outputs=1): relative + offsets})
    found[_pointwise(attention.heads, attention.head_dim, 1)] += relative
    found[_pointwise(1, attention.heads, attention.channels)] += relative
    found[Geometry(1, offsets, 2 * relative)] += 1
    return found


def _dual(attention: Declaration) -> Counter[Geometry]:
    offsets, heads, features = attention.offsets, attention.heads, attention.head_dim
    found = Counter({_pointwise(heads, features, offsets): offsets + 1})
    found[_pointwise(heads, offsets, features)] += offsets + 1
    return found


def _flat(attention: Declaration) -> Counter[Geometry]:
    offsets, features, relative = attention.offsets, attention.head_dim, attention.offsets - 1
    found = Counter({Geometry(1, features, relative): offsets})
    found[Geometry(1, offsets, features)] += offsets + 1
    return found


SIGNATURES: Mapping[str, Signature] = {
    "depthwise": _depthwise,
    "per-offset": _per_offset,
    "broadcast": _broadcast,
    "running-mean": _running_mean,
    "dual": _dual,
    "flat": _flat,
}


def signature(attention: Declaration) -> Counter[Geometry]:
    """How many operators of which geometry an attention has; none in a form that is not known."""
    one = SIGNATURES.get(attention.lowering, lambda _: Counter())(attention)
    return Counter({kind: number * attention.strips for kind, number in one.items()})


def mixings(graph: Graph) -> Iterator[tuple[Node, Geometry]]:
    """Every operator of a graph that mixes channels by weights, in the order of the file.

    Normalisations are left out, which may be written as convolutions that look like others.
    """
    normalising = {id(part) for each in normalisations(graph) for part in each.parts}
    found = {id(each.node): geometry(each) for each in convolutions(graph)}
    constant = constant_values(graph)
    for node in graph.nodes:
        if id(node) in normalising:
            continue
        kind = found.get(id(node)) or _product(graph, node, constant)
        if kind is not None:
            yield node, kind


def geometry(convolution: Convolution) -> Geometry:
    """The geometry of a convolution in a graph."""
    return Geometry(
        convolution.groups,
        convolution.inputs_per_group,
        convolution.outputs_per_group,
        convolution.kernel,
        convolution.pads or (),
        convolution.strides,
        convolution.dilations,
    )


def _product(graph: Graph, node: Node, constant: frozenset[str]) -> Geometry | None:
    """The geometry of a product with one constant matrix; None for any other node."""
    if kind_of(graph, node) not in (Kind.PRODUCT, Kind.LINEAR) or len(node.inputs) < 2:
        return None
    for side, name in enumerate(node.inputs[:2]):
        shape = graph.shape(name) or ()
        matrix = [size for size in shape[-2:] if isinstance(size, int)]
        if name in constant and len(matrix) == 2 and set(shape[:-2]) <= {1}:
            # A matrix on the right has its inputs as rows, on the left as columns.
            is_turned = stored_transposed(graph, node)[side] != (side == 0)
            inputs, outputs = reversed(matrix) if is_turned else matrix
            return Geometry(1, inputs, outputs)
    return None


def _neighbours(attention: Declaration, outputs: int) -> Geometry:
    """A convolution of each channel alone."""
    k = attention.kernel_size
    if attention.padding_mode != "zeros":  # the map is surrounded before it is convolved
        pads: tuple[tuple[int, int], ...] = ((0, 0),) * 2
    else:
        # A strip has zeros above and below only at the edge of the map, and some formats write
        # them as an operator of their own.
        pads = ((k // 2, k // 2),) * 2 if attention.strips == 1 else ()
    return Geometry(attention.channels, 1, outputs, (k, k), pads, (1, 1), (1, 1))


def _pointwise(groups: int, inputs: int, outputs: int) -> Geometry:
    return Geometry(groups, inputs, outputs, (1, 1), ((0, 0),) * 2, (1, 1), (1, 1))
