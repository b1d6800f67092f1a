"""Names and conventions of a format, for the rules.

Each reader stores its dialect in every graph. Rules use the dialect and depend on no format.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

Expand: TypeAlias = Callable[..., Any]
"""A function of ``expansion``. Its type is loose because ``graph`` imports this module."""


class Kind(Enum):
    """A common kind of operator."""

    CONVOLUTION = auto()
    MATMUL = auto()  # of two activations, or of an activation and a weight
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
    """The kind of each operator, from a string of operators for each kind, separated by blanks."""
    return {operator: kind for kind, text in names.items() for operator in text.split()}


@dataclass(frozen=True)
class PadWords:
    """How a format's padding operators store the amounts and the value.

    Attributes:
        operators: names of padding operators, in lower case.
        inputs: positions of the inputs with the amounts. One input holds those before all axes,
            then those after all axes; two inputs hold them separately.
        by_axis: whether a single input holds (before, after) axis by axis instead.
        attribute: attribute with the amounts instead, axis by axis, for the last axes.
        axes: position of the input that lists the padded axes; None if all axes are padded.
        value: position of the input, or name of the attribute, with the padding value.
    """

    operators: tuple[str, ...] = ("pad",)
    inputs: tuple[int, ...] = ()
    by_axis: bool = False
    attribute: str = ""
    axes: int | None = None
    value: int | str = ""


@dataclass(frozen=True, eq=False)
class Dialect:
    """The names of one format. An empty attribute name means that the format has no such attribute.

    Readers use the same name in all formats where nothing else differs, such as ``strides`` and
    ``dilations`` of a convolution.

    Attributes:
        format: name of the format, as in ``slide_deploy.formats``.
        domain: domain of the standard operators, as nodes name it.
        kinds: kind of each operator. Rules assume nothing about an operator that is missing.
        groups: attribute of a convolution with the number of its groups.
        grouped: convolutions whose weight is (groups, outputs / groups, inputs / groups, k, k). The
            weight of any other is (outputs, inputs / groups, k, k). Transposed convolutions have
            outputs and inputs exchanged.
        transposed_convolutions: transposed convolutions.
        weight_axes: axis order of a weight, for operators with an order of their own: o for
            outputs, i for inputs of a group, any other letter for an axis of the kernel.
        channels_last: convolutions whose feature maps are (batch, height, width, channels). Readers
            give their weights the same shape as those of the others.
        padding: how the padding operators store their amounts.
        affine_norm: normalisation that the format's converter also uses for a x + b, with a mean of
            0 and a variance of 1.
        pad_mode: attribute of a convolution with its padding mode: "valid", "same_upper" and so on,
            in upper or lower case.
        pads: attributes of a convolution with its padding. Two attributes hold the zeros before and
            after the axes. One attribute holds those before all axes, then those after all axes.
        pads_by_axis: whether one attribute holds (before, after) axis by axis instead.
        transposed: attributes of a matmul that state whether its first and its second matrix are
            stored transposed.
        linear_transposed: the same for operators of kind LINEAR, if the format fixes it.
        keeps_axes: attribute of an operator of kind LINEAR without which its output is a matrix, in
            which all axes but the last are merged.
        permutation: attribute of a transpose; if empty, its second input holds the permutation.
        pattern: attribute of a reshape with the target sizes; if empty, its second input has them.
        gather: operator that gathers from an activation with a table of indices.
        epsilons: normalisations, each with the attribute that holds its epsilon.
        default_epsilon: value if that attribute is missing; None if the format has no default.
        quantising: matches the operators for low-precision numbers; None if the format has none.
        expand: for each operator that stores a low-precision weight, the function that computes the
            floats.
        palettes: operators of ``expand`` whose stored numbers are indices into a palette.
        ranges: operators of ``expand`` that round to levels between two ends.
        rounding: operators that quantise an activation, or dequantise it.
        in_order: whether the order of the file is the order of execution.
        optional_inputs: whether an empty input name means an omitted input.
        unread_input: operator that the format's converter adds after an input that nothing reads.
        interface_types: for each type, the types that inputs and outputs of the format have
            instead, separated by blanks.
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
