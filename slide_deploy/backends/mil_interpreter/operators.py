"""All operators of the interpreter. Each family lists its own at the end of its file."""

from slide_deploy.backends.mil_interpreter import (
    operators_activation,
    operators_convolution,
    operators_elementwise,
    operators_indexing,
    operators_linear,
    operators_normalisation,
    operators_pooling,
    operators_quantisation,
    operators_reduction,
    operators_resizing,
    operators_sampling,
    operators_scatter,
    operators_selection,
    operators_shape,
)
from slide_deploy.backends.mil_interpreter.call import Operators

FAMILIES: tuple[Operators, ...] = (
    operators_elementwise.OPERATORS,
    operators_activation.OPERATORS,
    operators_convolution.OPERATORS,
    operators_pooling.OPERATORS,
    operators_resizing.OPERATORS,
    operators_sampling.OPERATORS,
    operators_linear.OPERATORS,
    operators_normalisation.OPERATORS,
    operators_reduction.OPERATORS,
    operators_shape.OPERATORS,
    operators_indexing.OPERATORS,
    operators_scatter.OPERATORS,
    operators_selection.OPERATORS,
    operators_quantisation.OPERATORS,
)

OPERATORS: Operators = {name: known for family in FAMILIES for name, known in family.items()}
