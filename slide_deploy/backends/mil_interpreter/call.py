"""What an operator's function receives: the operation and its arguments, by name and type.

Every accessor refuses an argument of the wrong kind, so that an operator's function is only its
formula.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from slide_deploy.backends.mil_interpreter.errors import UnsupportedOperator, faulty
from slide_deploy.backends.mil_interpreter.values import Value, to_value
from slide_deploy.errors import InputError
from slide_deploy.saved.mlpackage import (
    Argument,
    Operation,
    PackageConstant,
    TensorType,
    ValueReference,
)
from slide_deploy.saved.mlpackage.decompression import MAX_DENSE_ELEMENTS


@dataclass(frozen=True, slots=True)
class OperatorCall:
    """An operation with its operands.

    Attributes:
        path: the package, for messages.
        operation: what to compute.
        values: every value in memory, by name.
        opset: version of the operator set; 7 is iOS 17.
    """

    path: Path
    operation: Operation
    values: Mapping[str, Value]
    opset: int

    @property
    def declared_dtype(self) -> str:
        """The element type of the first output, as the program declares it."""
        declared = self.operation.outputs[0].type
        return declared.dtype.name if isinstance(declared, TensorType) else declared.kind

    def has(self, name: str) -> bool:
        """Return whether the parameter is given."""
        return bool(self.operation.inputs.get(name))

    def tensor(self, name: str) -> Tensor:
        """Return a parameter that is one tensor."""
        tensors = self.tensors(name)
        if len(tensors) != 1:
            raise self.faulty(f"takes one {name}, not {len(tensors)}")
        return tensors[0]

    def tensors(self, name: str) -> list[Tensor]:
        """Return a parameter that is a list of tensors."""
        values = [self._value(name, argument) for argument in self.operation.inputs.get(name, ())]
        tensors = [value for value in values if isinstance(value, Tensor)]
        if len(tensors) != len(values):
            raise self.faulty(f"needs a tensor as {name}")
        return tensors

    def optional(self, name: str) -> Tensor | None:
        """Return a tensor parameter, or None if it is left out."""
        return self.tensor(name) if self.has(name) else None

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """Return a parameter that is a vector of integers; it is required if it has no default."""
        if default is not None and not self.has(name):
            return list(default)
        tensor = self.tensor(name)
        if tensor.is_floating_point() or tensor.dtype == torch.bool or tensor.dim() > 1:
            raise self.faulty(f"needs integers as {name}")
        return [int(value) for value in tensor.reshape(-1).tolist()]

    def integer(self, name: str, default: int | None = None) -> int:
        """Return a parameter that is one integer; it is required if it has no default."""
        values = self.integers(name, None if default is None else [default])
        if len(values) != 1:
            raise self.faulty(f"needs one integer as {name}")
        return values[0]

    def number(self, name: str, default: float | None = None) -> float:
        """Return a parameter that is one number; it is required if it has no default."""
        if default is not None and not self.has(name):
            return self._as_stored(default)
        tensor = self.tensor(name)
        if tensor.numel() != 1:
            raise self.faulty(f"needs one number as {name}")
        return float(tensor.item())

    def flags(self, name: str, count: int) -> list[bool]:
        """Return a parameter that is a vector of ``count`` booleans; by default all are False."""
        if not self.has(name):
            return [False] * count
        tensor = self.tensor(name)
        if tensor.dtype != torch.bool or tensor.numel() != count:
            raise self.faulty(f"needs {count} booleans as {name}")
        return [bool(value) for value in tensor.reshape(-1).tolist()]

    def flag(self, name: str) -> bool:
        """Return a parameter that is one boolean; False if it is left out."""
        return self.flags(name, 1)[0]

    def text(self, name: str, default: str = "") -> str:
        """Return a parameter that is a string."""
        if not self.has(name):
            return default
        value = self._value(name, self.operation.inputs[name][0])
        if not isinstance(value, str):
            raise self.faulty(f"needs a string as {name}")
        return value

    def axis(self, name: str, rank: int, default: int | None = None) -> int:
        """Return a parameter that is an axis, as a non-negative index."""
        return self.from_front(self.integer(name, default), rank)

    def axes(self, name: str, rank: int, default: Sequence[int] | None = None) -> list[int]:
        """Return a parameter that is a set of axes, as non-negative indices in increasing order."""
        axes = sorted(self.from_front(axis, rank) for axis in self.integers(name, default))
        if len(set(axes)) != len(axes):
            raise self.faulty(f"names an axis twice in {name}")
        return axes

    def from_front(self, axis: int, rank: int) -> int:
        """Return an axis of a tensor of this rank as a non-negative index."""
        if not -rank <= axis < rank:
            raise self.faulty(f"names axis {axis} of a tensor of rank {rank}")
        return axis % rank

    def check_size(self, shape: Iterable[int]) -> None:
        """Refuse a result so large that the program must be damaged or hostile."""
        sizes = tuple(shape)
        if min(sizes, default=0) < 0 or math.prod(sizes) > MAX_DENSE_ELEMENTS:
            raise self.faulty(f"outputs a tensor of the absurd shape {sizes}")

    def faulty(self, what: str) -> InputError:
        """Return the error for operands that contradict each other; ``what`` is a clause."""
        return faulty(self.path, self.operation.type, self.operation.outputs[0].name, what)

    def unsupported(self, option: str) -> UnsupportedOperator:
        """Return the error for an unsupported option; ``option`` is a clause."""
        output = self.operation.outputs[0].name
        return UnsupportedOperator(self.path, self.operation.type, output, option)

    def _value(self, name: str, argument: Argument) -> Value:
        if isinstance(argument, ValueReference):
            return self.values[argument.name]
        value = to_value(argument.numpy()) if isinstance(argument, PackageConstant) else None
        if value is None:
            raise self.unsupported(f"a list as {name}")
        return value

    def _as_stored(self, default: float) -> float:
        """Round a default as MIL stores it: to float16 if the operands are float16."""
        if self.declared_dtype == "float16":
            return float(torch.tensor(default, dtype=torch.float16).item())
        return float(default)


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: its function and its parameters.

    A program that uses any other parameter is refused.

    Attributes:
        run: computes the output: one tensor, or a sequence with one tensor per declared output.
        required: parameters that must be given.
        optional: parameters that may be left out.
    """

    run: Callable[[OperatorCall], Tensor | Sequence[Tensor]]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


Operators: TypeAlias = Mapping[str, Operator]
"""A family of operators, by the names that MIL gives them."""
