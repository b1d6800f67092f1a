"""What the interpreter knows of an operator: its function and its parameters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from torch import Tensor

from slide_deploy.backends.mil_interpreter.call import OperatorCall


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator.

    A parameter that is in neither list is an option that is not known, and the program is refused.

    Attributes:
        run: computes the outputs, one tensor or one a declared output.
        required: parameters that must be given.
        optional: parameters that may be left out.
    """

    run: Callable[[OperatorCall], Tensor | Sequence[Tensor]]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


Operators: TypeAlias = Mapping[str, Operator]
"""A family of operators, by the names that MIL gives them."""
