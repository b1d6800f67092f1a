"""How a format writes what the rules reason about: the words that differ from format to format.

Each reader hands its dialect out with every graph. Rules and walks ask it, and know no format.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

Expand: TypeAlias = Callable[..., Any]
"""A function of ``expansion``; named loosely here, since the graph that it takes has a dialect."""


class Kind(Enum):
    """A common kind of operator."""

    CONVOLUTION = auto()
    MATMUL = auto()  # of two activations or of an activation and a weight
    LINEAR = auto()  # x W^T + b as one operator
    ATTENTION = auto()  # softmax(q k^T) v as one operator
    SOFTMAX = auto()
    ADD = auto()
    MULTIPLY = auto()
    BROADCAST = auto()  # other elementwise operators of several inputs
    SAME_SHAPE = auto()  # one input matters, and the output has its shape
    CAST = auto()
    RESHAPE = auto()
    TRANSPOSE = auto()
    CONCAT = auto()
    EXPAND = auto()  # the first input, repeated along axes of size 1
    GATHER = auto()
    UNFOLD = auto()
    CONTROL_FLOW = auto()
    OTHER = auto()


def kinds(names: Mapping[Kind, str]) -> Mapping[str, Kind]:
    """The kind of each operator, from the operators of each kind with blanks between them."""
    return {operator: kind for kind, text in names.items() for operator in text.split()}


@dataclass(frozen=True)
class PadWords:
    """How the operator ``pad`` says what it puts around a tensor.

    Attributes:
        operators: that put something around a tensor, in small letters.
        inputs: places of the inputs with the amounts: one holds those before all axes, then those
            behind all; two hold them apart.
        by_axis: whether one input holds them axis by axis instead.
        attribute: that holds the amounts instead, axis by axis, of the last axes.
        axes: place of the input that names the axes; None where all axes are meant.
        value: place of the input, or name of the attribute, with the number that is put there.
    """

    operators: tuple[str, ...] = ("pad",)
    inputs: tuple[int, ...] = ()
    by_axis: bool = False
    attribute: str = ""
    axes: int | None = None
    value: int | str = ""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The words of one format. An empty attribute name means that the format has no such attribute.

    Readers name what does not differ alike: ``strides`` and ``dilations`` of a convolution.

    Attributes:
        format: its name, as in ``slide_deploy.formats``.
        domain: of the standard operators, as nodes name it.
        kinds: of operators. About one that is missing, rules assume nothing.
        groups: attribute of a convolution that says how many groups it has.
        grouped: convolutions whose weight is (groups, outputs / groups, inputs / groups, k, k); any
            other has (outputs, inputs / groups, k, k). Transposed ones have outputs and inputs
            exchanged.
        transposed_convolutions: operators.
        weight_axes: the order of the axes of a weight, for operators that have one of their own: o
            for outputs, i for inputs of a group, any other letter for an axis of the kernel.
        channels_last: convolutions whose maps are (batch, height, width, channels). Their weights
            are shown as those of the others.
        padding: of the operator ``pad``.
        affine_norm: operator that normalises, but where its mean is 0 and its variance 1: so the
            format's converter writes a x + b.
        pad_mode: attribute of a convolution that names its padding: "valid", "same_upper" and the
            like, in any spelling.
        pads: attributes with the zeros around a map; two of them are those before and those behind.
            One attribute holds those before all axes, then those behind all axes.
        pads_by_axis: whether one attribute holds them axis by axis instead.
        transposed: attributes of a matrix product that say whether its first and second matrix are
            stored transposed.
        linear_transposed: the same of an operator of kind LINEAR, where it is always so.
        keeps_axes: attribute of an operator of kind LINEAR without which it answers a matrix, all
            axes but the last in one.
        permutation: attribute of a transpose; else its second input is its permutation.
        pattern: attribute of a reshape with its sizes; else its second input has them.
        gather: operator that reads an activation by a table of indices.
        epsilons: operators that normalise, each with the attribute that holds its epsilon.
        default_epsilon: where that attribute is left out; None if the format has no default.
        quantising: finds the operators that are there for numbers of low precision; None if the
            format has none.
        expand: how operators compute the floats that stored numbers of low precision stand for.
        palettes: those of them whose numbers are places in a palette.
        ranges: those that round to levels between two ends.
        rounding: operators that round a value on its way, or widen what was rounded.
        in_order: whether the order of the file is the order of execution.
        optional_inputs: whether an input without a name is one left out.
        unread_input: operator that the format's converter puts behind an input that nothing reads.
        interface_types: types that inputs and outputs of the format have in the place of another,
            with blanks between them.
    """

    format: str
    domain: str
    kinds: Mapping[str, Kind]
    groups: str = ""
    grouped: frozenset[str] = frozenset()
    transposed_convolutions: frozenset[str] = frozenset()
    weight_axes: Mapping[str, str] = field(default_factory=dict)
    channels_last: frozenset[str] = frozenset()
    padding: PadWords = PadWords()
    affine_norm: str = ""
    pad_mode: str = ""
    pads: tuple[str, ...] = ()
    pads_by_axis: bool = False
    transposed: tuple[str, str] = ("", "")
    linear_transposed: tuple[bool, bool] | None = None
    keeps_axes: str = ""
    permutation: str = ""
    pattern: str = ""
    gather: str = ""
    epsilons: Mapping[str, str] = field(default_factory=dict)
    default_epsilon: float | None = None
    quantising: re.Pattern[str] | None = None
    expand: Mapping[str, Expand] = field(default_factory=dict)
    palettes: frozenset[str] = frozenset()
    ranges: frozenset[str] = frozenset()
    rounding: frozenset[str] = frozenset()
    in_order: bool = True
    optional_inputs: bool = False
    unread_input: str = ""
    interface_types: Mapping[str, str] = field(default_factory=dict)
