"""An ONNX graph as a PyTorch module."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from slide_deploy.deployable.reasons import reason_of
from slide_deploy.onnx_network.host_values import Attributes, as_tensor, compute
from slide_deploy.onnx_network.movements import MOVED
from slide_deploy.onnx_network.operators import COMPUTED, MIXED, WEIGHTED, UnsupportedOperatorError
from slide_deploy.onnx_network.resizing import RESIZED
from slide_deploy.onnx_network.windows import WINDOWED

FUNCTIONS = COMPUTED | WINDOWED | MOVED | RESIZED
Watch = Callable[[str, Any], None]


@dataclass(frozen=True)
class GraphStep:
    """One operator of a graph.

    Attributes:
        operator: name of the ONNX operator; "" for a call of ``layer``.
        name: name of the node, for messages.
        inputs: names of the values that it reads; "" for one that is left out.
        outputs: names of its values.
        attributes: attributes of the operator.
        layer: name of the child module that computes it; "" for a function.
    """

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Attributes = field(default_factory=dict)
    layer: str = ""


class OnnxModule(nn.Module):
    """Runs a graph.

    Convolutions, linear layers and layer norms with constant weights are child modules. All other
    constants are buffers, or host values. A name of a child or buffer is the name of its node or
    weight with slashes in place of dots.

    Args:
        inputs: names of the inputs, in order.
        outputs: names of the outputs, in order.
        steps: operators, each behind those that it reads.
        host: host values by name.
        held: names of the buffers that hold further constants, by the name of the value.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        steps: Iterable[GraphStep],
        host: Mapping[str, np.ndarray[Any, Any]],
        held: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.inputs, self.outputs, self.steps = tuple(inputs), tuple(outputs), tuple(steps)
        self.host, self.held = dict(host), dict(held)
        self._last = _last_uses(self.steps, self.outputs)

    def forward(self, *tensors: Tensor) -> Any:
        """Run the graph on its inputs, and return its output or a tuple of its outputs."""
        found = self.run(dict(zip(self.inputs, tensors, strict=True)))
        return found[0] if len(found) == 1 else tuple(found)

    def run(self, given: Mapping[str, Tensor], watch: Watch | None = None) -> list[Tensor]:
        """Run the graph.

        Args:
            given: the inputs by name.
            watch: called with the name and the value of every input and every operator's output.

        Raises:
            UnsupportedOperatorError: if an operator cannot be run. The message is a sentence
                without a full stop.
        """
        values: dict[str, Any] = dict(given)
        if watch is not None:
            for name, value in values.items():
                watch(name, value)
        for place, step in enumerate(self.steps):
            arguments = [self._value(name, values) for name in step.inputs]
            results = self.results(step, arguments)
            for name, value in zip(step.outputs, results, strict=False):
                values[name] = value
                if watch is not None and name:
                    watch(name, value)
            for name in self._last.get(place, ()):
                values.pop(name, None)
        return [as_tensor(self._value(name, values)) for name in self.outputs]

    def constant(self, name: str) -> Any:
        """Return a constant, as a host value or a tensor; None if the value is computed."""
        return (
            self.host[name] if name in self.host else getattr(self, self.held.get(name, ""), None)
        )

    def _value(self, name: str, values: Mapping[str, Any]) -> Any:
        if not name:
            return None
        if name in values:
            return values[name]
        if name not in self.host and name not in self.held:
            raise UnsupportedOperatorError(f"{name} is read and no operator computes it")
        return self.constant(name)

    def results(self, step: GraphStep, arguments: list[Any]) -> Sequence[Any]:
        """Return the outputs of one operator.

        Raises:
            UnsupportedOperatorError: if it cannot be run. The message is a sentence without a full
                stop.
        """
        try:
            return self._results(step, arguments)
        except UnsupportedOperatorError as error:
            message = f"{step.name} cannot be read: {error}"
            raise UnsupportedOperatorError(message, error.advice) from error
        except Exception as error:  # any operator on any value: PyTorch raises errors of many kinds
            if torch.compiler.is_exporting():
                raise
            kind = step.operator or "layer"
            raise UnsupportedOperatorError(
                f"{step.name} is a {kind} that cannot be run ({reason_of(error)})"
            ) from error

    def _results(self, step: GraphStep, arguments: list[Any]) -> Sequence[Any]:
        if step.layer:
            return (self.get_submodule(step.layer)(as_tensor(arguments[0])),)
        if all(each is None or isinstance(each, np.ndarray) for each in arguments):
            result = compute(step.operator, step.attributes, arguments)
            if result is not None:
                return (result,)
        if step.operator in WEIGHTED:
            arguments = [each if each is None else as_tensor(each) for each in arguments]
        elif step.operator not in MIXED and isinstance(next(iter(arguments), None), np.ndarray):
            arguments = [as_tensor(arguments[0]), *arguments[1:]]
        if step.operator not in FUNCTIONS:
            raise UnsupportedOperatorError(f"it is a {step.operator}")
        result = FUNCTIONS[step.operator](step.attributes, *arguments)
        return result if isinstance(result, tuple) else (result,)


def _last_uses(steps: Sequence[GraphStep], outputs: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Return the values that no step behind a place reads, by place."""
    last: dict[str, int] = {}
    for place, step in enumerate(steps):
        for name in (*step.outputs, *step.inputs):
            last[name] = place
    found: dict[int, list[str]] = {}
    for name, place in last.items():
        if name not in outputs:
            found.setdefault(place, []).append(name)
    return {place: tuple(names) for place, names in found.items()}


def without_unused(steps: Sequence[GraphStep], outputs: Iterable[str]) -> list[GraphStep]:
    """Return the steps that outputs depend on."""
    needed = set(outputs)
    kept: list[GraphStep] = []
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            kept.append(step)
            needed.update(step.inputs)
    return kept[::-1]
