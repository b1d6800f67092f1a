"""Find the values of a traced program that no input affects: weights and what follows from them."""

from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.fx import Node

from slide_deploy.program.traced import evaluated

_RANDOM = torch.Tag.nondeterministic_seeded


def is_random(node: Node) -> bool:
    """Whether an operator draws random numbers, so that its result differs between runs."""
    return isinstance(node.target, torch._ops.OpOverload) and _RANDOM in node.target.tags


class Constants:
    """The constants of a program and their values.

    Args:
        program: the program in its current state; nodes that are added later are unknown.
    """

    def __init__(self, program: ExportedProgram) -> None:
        signature = program.graph_signature
        changed = set(signature.buffers_to_mutate.values())
        numbers = {**program.constants, **program.state_dict}
        self._weights = {
            spec.arg.name: numbers[spec.target]
            for spec in signature.input_specs
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
            and spec.target in numbers
            and spec.target not in changed
        }
        self._known: dict[Node, bool] = {}

    def holds(self, node: object) -> bool:
        """Whether a value does not depend on any input."""
        if not isinstance(node, Node):
            return False
        waiting = [node]
        while waiting:
            each = waiting[-1]
            sources = [source for source in each.all_input_nodes if source not in self._known]
            if sources and each.op == "call_function" and each not in self._known:
                waiting += sources
                continue
            waiting.pop()
            self._known[each] = self._is_constant(each)
        return self._known[node]

    def _is_constant(self, node: Node) -> bool:
        if node.op == "call_function":
            is_known = all(self._known[source] for source in node.all_input_nodes)
            return is_known and not is_random(node)
        return node.name in self._weights

    @torch.no_grad()
    def value(self, node: object) -> Tensor | None:
        """Evaluate a constant on the CPU, floats in float64; None if it is no constant."""
        if not isinstance(node, Node) or not self.holds(node):
            return None
        value = self._value(node)
        return value.cpu() if isinstance(value, Tensor) else None

    def _value(self, node: Node) -> Any:
        if node.op != "call_function":
            return _in_float64(self._weights[node.name])
        given = {source: self._value(source) for source in node.all_input_nodes}
        return _in_float64(evaluated(node, given.__getitem__))


def _in_float64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
