"""Counts the channel-mixing operators of a traced program, so that a file can be checked.

Converters keep the geometry of these operators and fold neighbouring arithmetic into their weights.
The census gives a range where a converter may write a different number of operators:

    merging     two operators with equal results become one
    fusion      softmax(q k^T) v with constant operands may be one operator, or several matmuls
    einsum      may become a matmul or stay an einsum
    vectors     a product with a vector may become a matmul with a matrix of one column
    recurrent   recurrent cells may be written as matmuls
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from torch.export import ExportedProgram
from torch.fx import Node

from slide_deploy.graph_checks.census import Census, Count
from slide_deploy.graph_checks.mixing import MixingGeometry, Pads, total_padding
from slide_deploy.lowerings.lowered import LoweredSlideAttention
from slide_deploy.program.traced import Call, Traced, call, shape

_MATMULS = {
    "matmul": ("self", "other"),
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "mv": ("self", "vec"),
}
# Converters write these with additional matmuls.
_HIDING = {
    *("lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell", "rnn_tanh_cell"),
    *("rnn_relu_cell", "bilinear", "_trilinear", "tensordot", "inner", "addbmm", "addmv"),
}
# These copy values of a feature map, as the unfold of an attention does.
_COPYING = {
    *("im2col", "col2im", "unfold", "unfold_copy", "index", "index_select", "gather", "take"),
    *("take_along_dim", "embedding", "repeat_interleave", "grid_sampler", "grid_sampler_2d"),
}
# Operators that may occur between a matmul and the softmax of an attention, or between a
# convolution and a sum.
_SCALING = {
    *("mul", "div", "add", "sub", "mul_", "div_", "add_", "sub_", "to", "_to_copy", "clone"),
    *("dropout", "alias", "detach", "contiguous", "view", "reshape", "unsqueeze", "squeeze"),
    *("batch_norm",),
}
_LONGEST_WALK = 16
# Additional axes: converters write these operators as a transpose of split axes.
_AXES_MORE = {"pixel_shuffle": 2, "pixel_unshuffle": 2, "channel_shuffle": 1, "im2col": 3}

Found = tuple[MixingGeometry, bool]
"""A geometry, and whether every converter writes it as a separate operator."""


def census(program: ExportedProgram) -> Census:
    """Return the census of a traced program."""
    traced = Traced(program)
    most: Counter[MixingGeometry] = Counter()
    different: dict[MixingGeometry, set[str]] = defaultdict(set)
    outside: set[MixingGeometry] = set()
    hides = copies = False
    for each in traced.calls():
        hides = hides or each.name in _HIDING
        copies = copies or each.name in _COPYING or _only_copies(traced, each)
        for kind, is_sure in _mixings(traced, each):
            most[kind] += 1
            if is_sure:
                different[kind].add(traced.identity[each.node])
            if not _in_slide_attention(each.node):
                outside.add(kind)
    counts = {
        kind: Count(len(different[kind]), number, slide_attention=kind not in outside)
        for kind, number in most.items()
    }
    return Census(
        counts, _branched_pairs(traced), hides, _has_infinities(traced), copies, _rank(traced)
    )


def _rank(traced: Traced) -> int:
    """Return the highest rank of a value outside slide attentions, as converters write it."""
    most = 0
    for node in traced.live:
        found = call(node)
        if found is not None and _in_slide_attention(node):
            continue
        more = _AXES_MORE.get(found.name, 0) if found is not None else 0
        most = max(most, len(shape(node)) + more)
    return most


def _only_copies(traced: Traced, each: Call) -> bool:
    """Return whether a dense convolution copies: its kernel has a single 1 for each output."""
    if "conv" not in each.name or each.arguments.get("groups", 1) != 1:
        return False
    weight = each.arguments["weight"]
    held = traced.weight(weight)
    if held is None or max(held.shape[2:]) == 1 or held.shape[0] <= held.shape[1]:
        return False
    rows = held.flatten(1)
    return bool(((rows == 0) | (rows == 1)).all() and (rows.count_nonzero(dim=1) == 1).all())


def _has_infinities(traced: Traced) -> bool:
    """Return whether a constant is infinite, or an attention has a mask that becomes infinite."""
    for node in traced.live:
        weight, found = traced.weight(node), call(node)
        if weight is not None and weight.is_floating_point() and bool(weight.isinf().any()):
            return True
        if any(isinstance(held, float) and math.isinf(held) for held in _literals(node)):
            return True
        if found is not None and found.name == "scaled_dot_product_attention":
            has_mask = found.arguments["attn_mask"] is not None
            if has_mask or found.arguments["is_causal"]:
                return True
    return False


def _literals(node: Node) -> list[object]:
    return [*node.args, *node.kwargs.values()]


def _in_slide_attention(node: Node) -> bool:
    """Return whether a node was traced inside a lowered slide attention."""
    wanted = f"{LoweredSlideAttention.__module__}.{LoweredSlideAttention.__qualname__}"
    stack = node.meta.get("nn_module_stack") or {}
    return any(str(entry[1]).endswith(wanted) for entry in stack.values())


def _mixings(traced: Traced, each: Call) -> Iterator[Found]:
    """Yield the geometries of an operator: none, one, or both matmuls of an attention."""
    if "conv" in each.name:
        kind = _convolution(each)
        if kind is not None:
            yield kind, True
    elif each.name == "linear":
        weight, data = each.arguments["weight"], each.arguments["input"]
        if weight in traced.constant:
            yield from _product(shape(weight)[::-1], True)
        elif data in traced.constant:
            yield from _product(shape(data), False)
    elif each.name in _MATMULS:
        left, right = (each.arguments[name] for name in _MATMULS[each.name])
        is_sure = not _in_attention(traced, each.node)
        if right in traced.constant:
            yield from _product(shape(right), is_sure)
        elif left in traced.constant:
            yield from _product(shape(left)[:-2] + shape(left)[:-3:-1], is_sure)
    elif each.name == "scaled_dot_product_attention":
        queries, keys, values = (each.arguments[name] for name in ("query", "key", "value"))
        if keys in traced.constant:
            yield from _product(shape(keys)[:-2] + shape(keys)[:-3:-1], False)
        elif queries in traced.constant:
            yield from _product(shape(queries)[:-2] + shape(queries)[:-3:-1], False)
        if values in traced.constant:
            yield from _product(shape(values), False)
    elif each.name == "einsum":
        yield from _einsum(traced, each)


def _product(matrix: Sequence[Any], is_sure: bool) -> Iterator[Found]:
    """Yield the geometry of a matmul with a constant (1, ..., inputs, outputs) or (inputs,).

    A constant with several matrices is skipped: it is not one weight for all positions.
    """
    if len(matrix) == 1:
        matrix, is_sure = (*matrix, 1), False
    if len(matrix) > 1 and set(matrix[:-2]) <= {1}:
        yield MixingGeometry(1, int(matrix[-2]), int(matrix[-1])), is_sure


def _convolution(each: Call) -> MixingGeometry | None:
    weight = [int(size) for size in shape(each.arguments.get("weight"))]
    if len(weight) < 3:
        return None
    kernel = tuple(weight[2:])
    axes = len(kernel)
    groups = int(each.arguments["groups"])
    strides, dilations = (_each(each.arguments[name], axes) for name in ("stride", "dilation"))
    if each.arguments.get("transposed") or "transpose" in each.name:
        inputs, outputs = weight[0] // groups, weight[1]
        return MixingGeometry(
            groups, inputs, outputs, kernel, strides=strides, dilations=dilations, transposed=True
        )
    pads = _pads(each.arguments["padding"], kernel, dilations)
    pads = total_padding(pads, _zeros_around(each.arguments["input"]))
    return MixingGeometry(groups, weight[1], weight[0] // groups, kernel, pads, strides, dilations)


def _each(held: Any, axes: int) -> tuple[int, ...]:
    sizes = tuple(held) if isinstance(held, Sequence) else (held,)
    return sizes if len(sizes) == axes else sizes * axes


def _pads(held: Any, kernel: Sequence[int], dilations: Sequence[int]) -> Pads:
    if held == "same":
        totals = [step * (taps - 1) for taps, step in zip(kernel, dilations, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    if held == "valid":
        return ((0, 0),) * len(kernel)
    return tuple((size, size) for size in _each(held, len(kernel)))


def _zeros_around(node: object) -> Pads | None:
    """Return the zero padding of the preceding operator; None if that does not pad with zeros."""
    found = call(node)
    if found is None or found.name not in ("pad", "constant_pad_nd"):
        return None
    is_constant = found.arguments.get("mode", "constant") == "constant"
    if not is_constant or found.arguments["value"] not in (None, 0):
        return None
    flat = list(found.arguments["pad"])  # PyTorch lists the last axis first
    if not all(isinstance(size, int) and size >= 0 for size in flat):
        return None
    pairs = list(zip(flat[::2], flat[1::2], strict=True))[::-1]
    return ((0, 0),) * (len(shape(node)) - len(pairs)) + tuple(pairs)


def _einsum(traced: Traced, each: Call) -> Iterator[Found]:
    """Yield the geometry of an einsum of data with one constant."""
    operands = list(each.arguments["tensors"])
    held = [operand for operand in operands if operand in traced.constant]
    terms, _, result = each.arguments["equation"].replace(" ", "").partition("->")
    indices = terms.split(",")
    if len(operands) != 2 or len(held) != 1 or "." in terms or not result:
        return
    own = indices[operands.index(held[0])]
    sizes = dict(zip(own, shape(held[0]), strict=True))
    if all(size for index, size in sizes.items()) and len(set(own)) == len(own):
        inputs = math.prod(int(size) for index, size in sizes.items() if index not in result)
        outputs = math.prod(int(size) for index, size in sizes.items() if index in result)
        yield MixingGeometry(1, inputs, outputs), False


def _in_attention(traced: Traced, node: Node) -> bool:
    """Return whether a matmul is one of the two of softmax(q k^T) v, which may be fused."""
    before = call(_through(traced, node.args[0]))
    if before is not None and "softmax" in before.name:
        return _is_matmul(_through(traced, before.node.args[0]))
    for _ in range(_LONGEST_WALK):
        readers = list(node.users)
        found = call(readers[0]) if len(readers) == 1 else None
        if found is None:
            return False
        if "softmax" in found.name:
            return any(_is_matmul(reader) for reader in _behind(found.node))
        if found.name not in _SCALING or _varying(traced, found.node) != [node]:
            return False
        node = found.node
    return False


def _behind(node: Node) -> list[Node]:
    """Return the readers of a value, after skipping scaling, reshapes and the like."""
    for _ in range(_LONGEST_WALK):
        readers = list(node.users)
        found = call(readers[0]) if len(readers) == 1 else None
        if found is None or found.name not in _SCALING:
            return readers
        node = found.node
    return []


def _is_matmul(node: object) -> bool:
    found = call(node)
    return found is not None and found.name in _MATMULS


def _varying(traced: Traced, node: Node) -> list[Node]:
    return [source for source in node.all_input_nodes if source not in traced.constant]


def _through(traced: Traced, node: Any) -> Any:
    """Return the value before constants scaled, shifted or normalised it."""
    for _ in range(_LONGEST_WALK):
        found = call(node)
        varying = _varying(traced, node) if found is not None else []
        if found is None or found.name not in _SCALING or len(varying) != 1:
            break
        node = varying[0]
    return node


def _branched_pairs(traced: Traced) -> int:
    """Count the sums of two grouped convolutions with equal geometry and the same input."""
    pairs = 0
    for each in traced.calls():
        if each.name not in ("add", "add_"):
            continue
        sides = [call(_through(traced, each.arguments[name])) for name in ("self", "other")]
        if sides[0] is None or sides[1] is None or sides[0].node is sides[1].node:
            continue
        kinds = [_convolution(side) if "conv" in side.name else None for side in sides if side]
        same_input = sides[0].arguments.get("input") is sides[1].arguments.get("input")
        if same_input and kinds[0] == kinds[1] and kinds[0] is not None and kinds[0].is_grouped:
            pairs += 1
    return pairs
