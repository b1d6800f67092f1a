"""Describe the branches of a slide attention in a traced program, for the certificate."""

from torch import Tensor
from torch.fx import Node

from slide_deploy.folding.formulas import distance_from_shift, largest
from slide_deploy.foreign.anchors import Anchors, shape_of
from slide_deploy.foreign.program import AttentionProgram, aten, is_one_of
from slide_deploy.foreign.proof import Reading
from slide_deploy.models.slide_attention import FoldedSlideAttention

_CONVOLUTIONS = (aten.conv2d, aten.convolution)
# The name given to a shift branch that is not a convolution.
_SLICES = "slices"


def describe_branches(
    program: AttentionProgram, anchors: Anchors, folded: FoldedSlideAttention
) -> Reading:
    """Return a reading of a program: the folded attention and a description of its branches."""
    sides = (
        (anchors.k, anchors.logits, anchors.q),
        (anchors.v, anchors.out, anchors.softmax),
    )
    names: dict[str, None] = {}
    kernels: dict[float, float] = {}
    added = False
    for source, target, given in sides:
        inside = program.between(source, target, (given,))
        found = [node for node in inside if _gathers_neighbours(node)]
        gates = program.gates(source, target, (given,))
        side_by_side = bool(found) and not any(node in gates for node in found)
        added = added or side_by_side
        names |= dict.fromkeys(_name(program, node) for node in found)
        if any(is_one_of(node, (aten.im2col,)) for node in found):
            kernels[0.0] = 0.0
        elif side_by_side and len(found) == 1:  # the other branch copies neighbours by slicing
            names[_SLICES] = None
            kernels[0.0] = 0.0
        for node in found:
            if (kernel := _kernel_and_bias(program, node, folded.config.offsets)) is not None:
                distance = distance_from_shift(kernel[0], folded.config.kernel_size)
                kernels.setdefault(distance, largest(kernel[1]))
    nearest = min(kernels, default=None)
    bias = None if nearest is None else kernels[nearest]
    return Reading(folded, tuple(names), added, nearest, bias)


def _gathers_neighbours(node: Node) -> bool:
    if is_one_of(node, (aten.im2col,)):
        return True
    return is_one_of(node, _CONVOLUTIONS) and shape_of(_argument(node, 1))[-2:] != (1, 1)


def _argument(node: Node, index: int) -> Node:
    found = node.args[index]
    assert isinstance(found, Node)
    return found


def _name(program: AttentionProgram, node: Node) -> str:
    """Return the name of the layer or parameter that holds a convolution's kernel."""
    if is_one_of(node, (aten.im2col,)):
        return "unfold"
    constants = program.before(_argument(node, 1))
    targets = [str(each.target) for each in constants if each.op == "get_attr"]
    name = min(targets, default="a constant").removeprefix("layer.")
    return name.partition(".parametrizations.")[0].removesuffix(".weight")


def _kernel_and_bias(
    program: AttentionProgram, node: Node, offsets: int
) -> tuple[Tensor, Tensor | None] | None:
    """Return kernel and bias of a convolution that outputs every offset of each feature."""
    if not is_one_of(node, _CONVOLUTIONS):
        return None
    (weight,) = program.evaluate([_argument(node, 1)], {}, program.weights)
    if weight.shape[1] != 1 or len(weight) % offsets or weight[0].numel() != offsets:
        return None
    bias = node.args[2] if len(node.args) > 2 else None
    if not isinstance(bias, Node):
        return weight, None
    return weight, program.evaluate([bias], {}, program.weights)[0]
