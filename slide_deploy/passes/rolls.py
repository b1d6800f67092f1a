"""Replace cyclic shifts by slices and a concatenation, for converters that would write a gather.

roll(x, s) along an axis of size n = cat(x[n - s:], x[:n - s])
"""

from torch import ops
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import layer_of, shape

aten = ops.aten


def rewrite(editor: Editor, report: PassReport) -> None:
    """Replace cyclic shifts along axes of known size."""
    for found in editor.calls("roll"):
        node, value = found.node, found.arguments["self"]
        shifts, axes = found.arguments["shifts"], found.arguments["dims"]
        if not axes or not all(isinstance(each, int) for each in shifts):
            continue
        if not all(isinstance(shape(node)[axis], int) for axis in axes):
            report.refuse(layer_of(node), "the size of a shifted axis is open")
            continue
        for shift, axis in zip(shifts, axes, strict=True):
            value = _shifted(editor, node, value, shift, axis)
        moves_nothing = value is found.arguments["self"]
        if moves_nothing and editor.is_output(node):
            continue  # an output keeps an operator of its own
        kept, gone = "a cyclic shift became slices", "a cyclic shift by nothing was removed"
        what = gone if moves_nothing else kept
        report.change(layer_of(node), what)
        editor.replace(node, value)


def _shifted(editor: Editor, like: Node, value: Node, shift: int, axis: int) -> Node:
    """Shift a value along one axis."""
    size = int(shape(value)[axis])
    cut = -shift % size if size else 0
    if not cut:
        return value
    ends = [
        editor.insert(like, aten.slice.Tensor, value, axis, start, end)
        for start, end in ((cut, size), (0, cut))
    ]
    return editor.insert(like, aten.cat.default, ends, axis)
