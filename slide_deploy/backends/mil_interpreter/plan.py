"""Plan a run: which operations are constants, which are computed, and when each value is freed.

The whole program is checked before anything is computed: every operator and every parameter is
supported, and every value is defined exactly once, before it is used.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from slide_deploy.backends.mil_interpreter.call import Operators
from slide_deploy.backends.mil_interpreter.errors import UnsupportedOperator, faulty
from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage import (
    Argument,
    Function,
    Operation,
    PackageConstant,
    TensorType,
    ValueReference,
)
from slide_deploy.saved.mlpackage.decompression import DECOMPRESSORS

# 2**30 elements are 4 GiB of float32, for weights and intermediates together. Without a limit, a
# small program could load one weight, or copy one value, any number of times.
MAX_ALIVE_ELEMENTS = 1 << 30


@dataclass(frozen=True, slots=True)
class ExecutionStep:
    """One operation to compute, and the names of the values that no later operation uses."""

    operation: Operation
    released: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ExecutionPlan:
    """A function, ready to run.

    Attributes:
        steps: in the order of their execution.
        constants: literals and decompressed weights by name.
        outputs: the names that the function returns.
        values: every name that a run defines, constants included.
    """

    steps: tuple[ExecutionStep, ...]
    constants: Mapping[str, NDArray[np.generic]]
    outputs: tuple[str, ...]
    values: frozenset[str]


def make_plan(path: Path, function: Function, operators: Operators) -> ExecutionPlan:
    """Check a function and order its work.

    Raises:
        UnsupportedOperator: if ``operators`` lacks an operator or a parameter.
        InputError: if a value is undefined, defined twice or used before it is defined.
    """
    defined = {named.name for named in function.inputs}
    constants: dict[str, NDArray[np.generic]] = {}
    computed: list[Operation] = []
    elements = 0
    for operation in function.block.operations:
        _check_operands(path, operation, defined)
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            elements += _declared_elements(operation)
            if elements > MAX_ALIVE_ELEMENTS:
                raise too_large(path)
            constants.update(_constants(path, operation, constants))
        else:
            _check_parameters(path, operation, operators)
            computed.append(operation)
        for named in operation.outputs:
            if named.name in defined:
                raise faulty(path, operation.type, named.name, "defines a value a second time")
            defined.add(named.name)
    outputs = function.block.outputs
    for name in outputs:
        if name not in defined:
            raise InputError(
                f"{path} cannot be run: no operation computes its output {name!r}; "
                f"export the package again."
            )
    steps = tuple(_steps(computed, kept={*outputs, *constants}))
    return ExecutionPlan(steps, constants, outputs, frozenset(defined))


def _steps(computed: list[Operation], kept: Collection[str]) -> Iterator[ExecutionStep]:
    """Yield each operation with the values that it is the last to use, or that nothing uses."""
    last_use: dict[str, int] = {}
    for index, operation in enumerate(computed):
        for name in (*_references(operation), *(named.name for named in operation.outputs)):
            last_use[name] = index
    released: dict[int, list[str]] = {}
    for name, index in last_use.items():
        if name not in kept:
            released.setdefault(index, []).append(name)
    for index, operation in enumerate(computed):
        yield ExecutionStep(operation, tuple(released.get(index, ())))


def too_large(path: Path) -> InputError:
    """Return the error for a program that needs more memory than any model for a device."""
    return InputError(
        f"{path} cannot be run: its values take more than {MAX_ALIVE_ELEMENTS >> 28} GiB at a "
        f"time; run it with Core ML on a Mac, or export the model for smaller images."
    )


def _declared_elements(operation: Operation) -> int:
    """Return the number of elements of the outputs; an undeclared size counts as 1."""
    types = [named.type for named in operation.outputs]
    shapes = [declared.shape for declared in types if isinstance(declared, TensorType)]
    return sum(math.prod(size or 1 for size in shape or ()) for shape in shapes)


def _references(operation: Operation) -> Iterator[str]:
    for arguments in operation.inputs.values():
        for argument in arguments:
            if isinstance(argument, ValueReference):
                yield argument.name


def _output(operation: Operation) -> str:
    """Return the name of the first output for messages; empty if there is none."""
    return operation.outputs[0].name if operation.outputs else ""


def _check_operands(path: Path, operation: Operation, defined: Collection[str]) -> None:
    if operation.blocks:
        raise UnsupportedOperator(path, operation.type, _output(operation))
    if not operation.outputs:
        raise faulty(path, operation.type, operation.name, "has no output")
    for name in _references(operation):
        if name not in defined:
            raise faulty(
                path, operation.type, _output(operation), f"uses {name!r} before it is defined"
            )


def _check_parameters(path: Path, operation: Operation, operators: Operators) -> None:
    operator = operators.get(operation.type)
    if operator is None:
        raise UnsupportedOperator(path, operation.type, _output(operation))
    unknown = set(operation.inputs) - {*operator.required, *operator.optional}
    if unknown:
        option = f"parameter {min(unknown)}"
        raise UnsupportedOperator(path, operation.type, _output(operation), option)
    missing = [name for name in operator.required if not operation.inputs.get(name)]
    if missing:
        raise faulty(path, operation.type, _output(operation), f"lacks parameter {missing[0]}")


def _constants(
    path: Path, operation: Operation, constants: Mapping[str, NDArray[np.generic]]
) -> dict[str, NDArray[np.generic]]:
    """Return the value of a ``const`` or ``constexpr_`` operation, by its name."""
    arguments: dict[str, Argument] = dict(operation.attributes)
    arguments.update((key, values[0]) for key, values in operation.inputs.items() if values)
    parameters = {
        key: _literal(path, operation, argument, constants) for key, argument in arguments.items()
    }
    value = _evaluate(path, operation, parameters)
    if len(operation.outputs) != 1:
        held = f"outputs 1 value, not {len(operation.outputs)}"
        raise faulty(path, operation.type, _output(operation), held)
    (named,) = operation.outputs
    if (
        not isinstance(named.type, TensorType)
        or named.type.shape != value.shape
        or named.type.dtype.storage != value.dtype.name
    ):
        held = f"is {value.dtype} {value.shape}, not as declared"
        raise faulty(path, operation.type, named.name, held)
    return {named.name: value}


def _evaluate(
    path: Path, operation: Operation, parameters: Mapping[str, NDArray[np.generic]]
) -> NDArray[np.generic]:
    if operation.type == "const":
        if set(parameters) != {"val"}:
            raise faulty(path, "const", _output(operation), "has no value")
        return parameters["val"]
    for decompress in DECOMPRESSORS.get(operation.type, ()):
        try:
            signature(decompress).bind(**parameters)
        except TypeError:  # other parameters
            continue
        try:
            return decompress(**parameters)
        except (ValueError, IndexError, TypeError) as error:
            raise faulty(path, operation.type, _output(operation), f"fails ({error})") from error
    raise UnsupportedOperator(path, operation.type, _output(operation))


def _literal(
    path: Path,
    operation: Operation,
    argument: Argument,
    constants: Mapping[str, NDArray[np.generic]],
) -> NDArray[np.generic]:
    if isinstance(argument, PackageConstant):
        return argument.numpy()
    if isinstance(argument, ValueReference) and argument.name in constants:
        return constants[argument.name]
    raise UnsupportedOperator(path, operation.type, _output(operation), "a list or computed value")
