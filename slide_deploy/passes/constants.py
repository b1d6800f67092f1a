"""Evaluate everything that depends on weights alone before the file is written.

Examples are position biases that an index table selects, masks, ranges, normalised or clamped
weights, and resized embeddings. A value that depends on no input becomes a constant if an operator
that depends on an input reads it. It is evaluated in the network's own type, with the network's own
operators. Random numbers are left alone. So is a value that would make the file larger by more
than ``MAX_GROWTH``, or by more than all weights together: a weight that is repeated along an axis,
for example, remains a repetition.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from slide_deploy.passes.report import PassReport
from slide_deploy.program.constants import is_random
from slide_deploy.program.editing import Editor
from slide_deploy.program.traced import Traced, evaluated, layer_of

# Bytes. This is twice the size of the position bias of 14x14 windows with 12 heads.
MAX_GROWTH = 4 * 2**20
# Bytes. Constants up to this size are always stored, as an operator would cost more.
SMALL = 2**16


def rewrite(editor: Editor, report: PassReport) -> None:
    """Evaluate values that no input affects."""
    traced = Traced(editor.program)
    computed = {node for node in traced.constant if node.op == "call_function"}
    weights = {
        node: held
        for node in traced.constant
        if node not in computed and (held := traced.weight(node)) is not None
    }
    left = sum(map(_bytes, weights.values()))
    numbers: dict[Node, Any] = dict(weights)
    for node in [each for each in traced.live if each in computed]:
        value = node.meta.get("val")
        is_read = any(user not in computed for user in node.users)
        if not is_read or not isinstance(value, Tensor) or editor.is_output(node):
            continue
        needed = _ancestors(node)
        if not all(map(_is_determined, needed)):
            continue
        freed = (each for each in needed if computed.issuperset(each.users))
        growth = _bytes(value) - sum(_bytes(weights[each]) for each in freed if each in weights)
        if _bytes(value) > SMALL and growth > min(MAX_GROWTH, left):
            reason = f"the constant would take {_bytes(value) / 2**20:.1f} MiB"
            report.refuse(layer_of(node), reason)
            continue
        left -= max(0, growth)
        _evaluate((each for each in traced.live if each in needed), numbers)
        report.change(layer_of(node), "a value that no input affects became a constant")
        constant = editor.constant(numbers[node], "constant")
        numbers[constant] = numbers[node]  # later constants may read this one
        editor.replace(node, constant)


def _ancestors(node: Node) -> set[Node]:
    """A node and everything that it is computed from."""
    waiting, seen = [node], {node}
    while waiting:
        fresh = set(waiting.pop().all_input_nodes) - seen
        seen |= fresh
        waiting.extend(fresh)
    return seen


def _is_determined(node: Node) -> bool:
    """Whether a value is the same in every run: no random numbers, no open sizes, no effects."""
    if node.op != "call_function":
        return node.op == "placeholder"
    value = node.meta.get("val")
    sizes: Iterable[object] = value.shape if isinstance(value, Tensor) else [value]
    is_open = any(isinstance(size, torch.SymInt) for size in sizes)
    return not (is_random(node) or is_open or node.is_impure())


def _evaluate(nodes: Iterable[Node], numbers: dict[Node, Any]) -> None:
    """Evaluate nodes in order; ``numbers`` provides the weights and receives the results."""
    for node in nodes:
        if node not in numbers:
            with torch.no_grad():
                numbers[node] = evaluated(node, numbers.__getitem__)


def _bytes(held: Tensor) -> int:
    return held.numel() * held.element_size()
