"""Run a plan with torch.

Only this module imports the modules that need torch, and it is imported when a program is loaded.
"""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import OperatorCall
from slide_deploy.backends.mil_interpreter.errors import UnsupportedOperator, faulty
from slide_deploy.backends.mil_interpreter.operators import OPERATORS
from slide_deploy.backends.mil_interpreter.plan import MAX_ALIVE_ELEMENTS, make_plan, too_large
from slide_deploy.backends.mil_interpreter.values import Value, held_as, settle, to_numpy, to_value
from slide_deploy.backends.native_messages import message_lines
from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage import Function, Operation, TensorType

# Errors that torch and Python raise for an operand with a bad shape, index or size.
_OPERAND_ERRORS = (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError, MemoryError)


class Engine:
    """A function whose weights are torch tensors.

    Args:
        path: the package, for messages.
        function: what to run.

    Attributes:
        plan: the operations to compute, in order.
        types: the declared type of every value.

    Raises:
        UnsupportedOperator: if an operator, an option or a type is not supported.
        InputError: if the program contradicts itself.
    """

    def __init__(self, path: Path, function: Function) -> None:
        self.plan = make_plan(path, function, OPERATORS)
        self._path = path
        self._opset = function.opset_version
        self._constants: dict[str, Value] = {}
        for name, array in self.plan.constants.items():
            value = to_value(array)
            if value is None:
                raise UnsupportedOperator(path, "const", name, f"{array.dtype} elements")
            self._constants[name] = value
        self.types = _declared_types(path, function)

    @torch.inference_mode()
    def run(
        self, inputs: Mapping[str, NDArray[np.generic]], keep: Collection[str]
    ) -> dict[str, NDArray[np.generic]]:
        """Compute the outputs, and return them with the values in ``keep``.

        Args:
            inputs: by name, in the types and shapes that the function declares.
            keep: names of intermediates to return as well.

        Raises:
            InputError: if operands contradict each other.
        """
        wanted = [*self.plan.outputs, *keep]
        values: dict[str, Value] = dict(self._constants)
        for name, array in inputs.items():
            value = to_value(array)
            if value is not None:
                values[name] = value
        alive = sum(_elements(value) for value in values.values())
        for step in self.plan.steps:
            computed = self._compute(step.operation, values)
            alive += sum(_elements(value) for value in computed.values())
            if alive > MAX_ALIVE_ELEMENTS:
                raise too_large(self._path)
            values.update(computed)
            for name in step.released:
                if name not in keep:
                    alive -= _elements(values.pop(name))
        return {name: self._result(name, values[name]) for name in wanted}

    def _compute(self, operation: Operation, values: Mapping[str, Value]) -> dict[str, Tensor]:
        call = OperatorCall(self._path, operation, values, self._opset)
        try:
            result = OPERATORS[operation.type].run(call)
            outputs = [result] if isinstance(result, Tensor) else list(result)
            if len(outputs) != len(operation.outputs):
                raise ValueError(f"outputs {len(outputs)} values, not {len(operation.outputs)}")
            return {
                named.name: settle(output, self.types[named.name])
                for named, output in zip(operation.outputs, outputs, strict=True)
            }
        except InputError:
            raise
        except _OPERAND_ERRORS as error:
            name = operation.outputs[0].name
            raise faulty(
                self._path, operation.type, name, f"fails ({message_lines(error)[0]})"
            ) from error

    def _result(self, name: str, value: Value) -> NDArray[np.generic]:
        dtype = self.types[name].dtype
        if isinstance(value, str) or held_as(dtype.name) is None:
            raise InputError(
                f"{self._path} cannot return {name!r}, which is of type {dtype.name}: "
                f"choose another value."
            )
        return to_numpy(value, dtype)


def _elements(value: Value) -> int:
    return 0 if isinstance(value, str) else value.numel()


def _declared_types(path: Path, function: Function) -> dict[str, TensorType]:
    """Return the type of every value of the function.

    Raises:
        UnsupportedOperator: if a value is a list, a dictionary or a state.
    """
    types: dict[str, TensorType] = {}
    for named in function.inputs:
        if not isinstance(named.type, TensorType):
            raise UnsupportedOperator(path, "input", named.name, f"type {named.type.kind}")
        dtype = named.type.dtype.name
        if held_as(dtype) is None:
            raise UnsupportedOperator(path, "input", named.name, f"type {dtype}")
        types[named.name] = named.type
    for operation in function.block.operations:
        for named in operation.outputs:
            if not isinstance(named.type, TensorType):
                option = f"output type {named.type.kind}"
                raise UnsupportedOperator(path, operation.type, named.name, option)
            types[named.name] = named.type
    return types
