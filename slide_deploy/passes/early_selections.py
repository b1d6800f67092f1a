"""Move selections in front of the work, so that only the selected part is computed.

    f(x)[i] = f(x[i])        if f treats every position of that axis alike
    (A B)[i] = A[i] B        if i selects rows of A

A classifier that reads its class token, ``norm(tokens)[:, 0]``, needs one row of its last block:
one query and one row of the MLP, while keys and values still come from all tokens. A selection
moves up as long as the values on its way have no other reader. It moves only if it selects at most
half of its axis, and only if it passes a matmul, a normalisation, a softmax or an activation. The
arithmetic of the selected part does not change.
"""

from dataclasses import dataclass, replace

import torch
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.movement import is_reshape, is_same, permutation, reshape_sizes
from slide_deploy.program.traced import Call, call, layer_of, same_size, same_sizes, shape

aten = torch.ops.aten

_SELECTIONS = ("select", "slice", "narrow")
_ELEMENTWISE = {
    *("relu", "gelu", "silu", "hardswish", "hardsigmoid", "sigmoid", "tanh", "elu", "leaky_relu"),
    *("softplus", "erf", "exp", "log", "sqrt", "rsqrt", "neg", "abs", "pow", "clamp", "mish"),
    *("add", "sub", "mul", "div"),
}
# Operators that move or add elements cost little: a selection behind only those may stay.
_WORK = {
    *("linear", "matmul", "layer_norm", "softmax", "_softmax", "scaled_dot_product_attention"),
    *("gelu", "silu", "mish", "tanh", "erf", "exp", "sigmoid", "softplus"),
}
# How many operators a selection passes in one move. Further moves follow, so chains have no limit.
_MAX_STEPS = 50


@dataclass(frozen=True)
class _Part:
    """A range of consecutive positions of one axis."""

    axis: int
    start: int
    length: int


# The operands of an operator that have to be selected, each with its range.
_Operands = dict[Node, _Part]


def rewrite(editor: Editor, report: PassReport) -> None:
    """Move selections up until none can move."""
    # A move may give one value two equal selections, which then move on together.
    while any(_move(editor, found, report) for found in editor.calls(*_SELECTIONS)):
        pass


def _move(editor: Editor, found: Call, report: PassReport) -> bool:
    """Move a selection, with all equal selections of the same value; False if it has to stay."""
    part = None if found.node._erased else _part(found)
    value = found.arguments["self"]
    if part is None or editor.is_output(value):
        return False
    alike = [each for user in value.users if (each := _same_selection(user, value, part))]
    if len(alike) < len(value.users) or not _passes_work(editor, value, part):
        return False
    size = shape(value)[part.axis]
    early = _computed(editor, value, part, _operands_of(value, part))
    for each in alike:
        new = early
        if each.name == "select":
            new = editor.insert(each.node, aten.select.int, early, part.axis, 0)
        editor.replace(each.node, new)
        editor.drop(each.node)
    what = f"only {part.length} of {size} positions are computed, as the others are never read"
    report.change(layer_of(early), what)
    return True


def _same_selection(user: Node, value: Node, part: _Part) -> Call | None:
    """A reader of a value, if it selects exactly this range; otherwise None."""
    found = call(user)
    if found is None or found.name not in _SELECTIONS or found.arguments["self"] is not value:
        return None
    return found if _part(found) == part else None


def _part(found: Call) -> _Part | None:
    """The range that a selection takes; None if it is unknown or more than half of the axis."""
    given = found.arguments
    sizes = shape(given["self"])
    axis = int(given["dim"]) % max(1, len(sizes))
    size = sizes[axis] if sizes else None
    is_one = found.name == "select"
    start = given["index"] if is_one else given["start"] or 0
    length = 1 if is_one else shape(found.node)[axis]
    if not isinstance(size, int) or given.get("step", 1) != 1:
        return None
    if not isinstance(start, int) or not isinstance(length, int):
        return None
    if not 0 < 2 * length <= size:
        return None
    # A start before the axis means the start of the axis.
    return _Part(axis, max(start + size, 0) if start < 0 else start, length)


def _passes_work(editor: Editor, value: Node, part: _Part, steps: int = _MAX_STEPS) -> bool:
    """Whether a selection would save work within the next steps on its way up."""
    found, operands = call(value), _operands_of(value, part)
    if found is None or operands is None or not steps:
        return False
    return found.name in _WORK or any(
        _is_read_once(editor, each) and _passes_work(editor, each, one, steps - 1)
        for each, one in operands.items()
    )


def _is_read_once(editor: Editor, value: Node) -> bool:
    return len(value.users) == 1 and not editor.is_output(value)


def _selected(editor: Editor, value: Node, part: _Part, reader: Node, steps: int) -> Node:
    """A part of a value, computed from parts of its operands as far up as possible."""
    goes_on = steps > 0 and _is_read_once(editor, value)
    operands = _operands_of(value, part) if goes_on else None
    if operands is not None:
        return _computed(editor, value, part, operands, steps - 1)
    end = part.start + part.length
    return editor.insert(reader, aten.slice.Tensor, value, part.axis, part.start, end)


def _computed(
    editor: Editor,
    value: Node,
    part: _Part,
    operands: _Operands | None,
    steps: int = _MAX_STEPS,
) -> Node:
    """Apply the operator that computes a value to parts of its operands."""
    found = call(value)
    assert found is not None
    assert operands is not None
    known = {each: _selected(editor, each, one, value, steps) for each, one in operands.items()}
    if is_same(found):
        return next(iter(known.values()))
    if is_reshape(found):
        sizes = reshape_sizes(_cut(shape(value), part))
        return editor.insert(value, aten.reshape.default, *known.values(), sizes)
    args, kwargs = torch.fx.map_arg((value.args, value.kwargs), lambda each: known.get(each, each))
    return editor.insert(value, value.target, *args, **kwargs)


def _cut(sizes: tuple[int | torch.SymInt, ...], part: _Part) -> tuple[int | torch.SymInt, ...]:
    """The shape of a part of a value."""
    return (*sizes[: part.axis], part.length, *sizes[part.axis + 1 :])


def _operands_of(value: Node, part: _Part) -> _Operands | None:
    """The ranges of the operands that a part of a value depends on.

    Returns:
        None if a selection cannot move in front of the operator that computes the value.
    """
    found = call(value)
    if found is None:
        return None
    given, sources = found.arguments, value.all_input_nodes
    rank = len(shape(value))
    behind = rank - 1 - part.axis
    order = permutation(found)
    if is_same(found):
        return {sources[0]: part}
    if order is not None:
        return {sources[0]: replace(part, axis=order[part.axis])}
    if is_reshape(found):
        return _of_reshape(value, part)
    if found.name in _ELEMENTWISE:
        return _of_all(value, part)
    if found.name == "layer_norm":
        is_normalised = behind < len(given["normalized_shape"])
        return None if is_normalised else _of_one(value, given["input"], part)
    if found.name in ("softmax", "_softmax"):
        return None if int(given["dim"]) % rank == part.axis else {given["self"]: part}
    if found.name == "linear":
        return None if behind == 0 else _of_one(value, given["input"], part)
    if found.name == "matmul":
        rows = behind == 1 and len(shape(given["self"])) == rank
        return _of_one(value, given["self"], part) if rows else None
    if found.name == "scaled_dot_product_attention":
        plain = given["attn_mask"] is None and not given["is_causal"] and not given["dropout_p"]
        rows = behind == 1 and len(shape(given["query"])) == rank
        return _of_one(value, given["query"], part) if plain and rows else None
    return None


def _of_one(value: Node, operand: Node, part: _Part) -> _Operands | None:
    """Select one operand; None if the operator reads it twice, as it then needs all of it."""
    places = sum(each is operand for each in (*value.args, *value.kwargs.values()))
    return {operand: part} if places == 1 else None


def _of_reshape(node: Node, part: _Part) -> _Operands | None:
    """Select the operand of a reshape that keeps all axes up to the selected one."""
    source, *_ = node.all_input_nodes
    before, after = shape(source), shape(node)
    upto = part.axis + 1
    if not same_sizes(before[:upto], after[:upto]) or reshape_sizes(_cut(after, part)) is None:
        return None
    return {source: part}


def _of_all(node: Node, part: _Part) -> _Operands | None:
    """Select the operands of an elementwise operator; broadcast operands stay as they are."""
    sizes, operands = shape(node), _Operands()
    for each in node.all_input_nodes:
        axis = part.axis - (len(sizes) - len(shape(each)))
        if axis < 0 or same_size(shape(each)[axis], 1):
            continue
        operands[each] = replace(part, axis=axis)
    return operands or None
