"""Values of a traced program that no input changes: weights, and what is computed from them."""

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_arg

from slide_deploy.program.traced import Traced

_RANDOM = torch.Tag.nondeterministic_seeded


def is_random(node: Node) -> bool:
    """Whether an operator draws random numbers, so that it gives other values each time."""
    return isinstance(node.target, torch._ops.OpOverload) and _RANDOM in node.target.tags


class Constants:
    """What in a program is constant, and its numbers.

    Args:
        program: as it stands when something is asked; changes that come later count.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self._known: dict[Node, bool] = {}

    def holds(self, node: object) -> bool:
        """Whether a value is the same whatever the inputs are."""
        if not isinstance(node, Node):
            return False
        waiting = [node]
        while waiting:
            each = waiting[-1]
            sources = [source for source in each.all_input_nodes if source not in self._known]
            if each not in self._known and sources and each.op == "call_function":
                waiting += sources
                continue
            waiting.pop()
            self._known[each] = self._is_constant(each)
        return self._known[node]

    def _is_constant(self, node: Node) -> bool:
        if node.op == "call_function":
            is_known = all(self._known[source] for source in node.all_input_nodes)
            return is_known and not is_random(node)
        signature = self.program.graph_signature
        buffer = signature.inputs_to_buffers.get(node.name)
        changes = buffer is not None and buffer in signature.buffers_to_mutate.values()
        return not changes and Traced(self.program).weight(node) is not None

    def value(self, node: object) -> Tensor | None:
        """The numbers of a constant, on the CPU, floating point in float64; None if it is none."""
        if not isinstance(node, Node) or not self.holds(node):
            return None
        value = _value(Traced(self.program), node)
        return value.cpu() if isinstance(value, Tensor) else None


def _value(traced: Traced, node: Node) -> Any:
    if node.op != "call_function":
        return in_float64(traced.weight(node))
    given = {source: _value(traced, source) for source in node.all_input_nodes}
    args, kwargs = map_arg((node.args, node.kwargs), given.__getitem__)
    with torch.no_grad():
        return in_float64(node.target(*args, **kwargs))  # type: ignore[operator]


def in_float64(value: object) -> object:
    """A tensor of floating point numbers in float64; anything else as it is."""
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
