"""SD021: weights and values have the precision that the file claims.

``slide_deploy.precisions`` has a record of each precision, and the format must support the claimed
one. The rule checks the stored weights of convolutions and matmuls, before casts and
dequantisation:

    weight_bits    each of these widths occurs: all weights have 16 bits in a float16 file, some 16
                   and some 32 in a mixed file, some 8 in an int8 file
    spare_bits     other widths that a weight may have; no further width is allowed. Some weights of
                   a quantised file may stay floats
    has_palettes   whether the narrow weights are indices into a palette
    value_bits     some values are rounded to this number of bits, and none to another; None means
                   that no value is rounded

A quantised file may name the operators whose weights stay floats; then no other weights may. A
float16 file must name the weights that it keeps in float32, as spare_bits allows. A precision of 16
and 32 bits allows no low-precision numbers, because a quantiser copies the claim of the file that
it reads. If 16 is not among its widths, no value and no constant may have 16 bits. A file to be run
in bfloat16 counts as float32 here.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from slide_deploy.formats import known_formats
from slide_deploy.graph_checks.declarations import (
    FLOAT_OPERATORS_KEY,
    PRECISION_KEY,
    read_names,
)
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.low_precision import (
    integer_weights,
    quantising_operators,
    rounded_values,
    small_floats,
    value_widths,
)
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation
from slide_deploy.graph_checks.weight_widths import Width, weight_widths
from slide_deploy.precisions import Precision, known_precisions

_HALF = ("float16", "bfloat16")
_NARROW = 8
_QUANTISED = (
    f"Use the file as it was exported, or remove {PRECISION_KEY} from the metadata of the "
    f"quantised file and verify its outputs again."
)


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    claimed = graph.metadata.get(PRECISION_KEY)
    if claimed is None:
        return
    known = {precision.name: precision for precision in known_precisions()}
    if claimed not in known:
        yield RULE.broken(f"The file claims {claimed}; known are {', '.join(known)}.")
        return
    format = next((each for each in known_formats() if each.name == graph.format), None)
    if format is not None and claimed not in format.every_precision:
        yield RULE.broken(
            f"The file claims {claimed}, and {graph.format} is written in "
            f"{', '.join(format.every_precision)}."
        )
    precision, widths, named = known[claimed], weight_widths(graph), None
    try:
        if FLOAT_OPERATORS_KEY in graph.metadata:
            named = frozenset(read_names(graph.metadata[FLOAT_OPERATORS_KEY]))
    except ValueError as error:
        yield RULE.broken(f"The file's {FLOAT_OPERATORS_KEY} {error}.")
    if precision.is_quantised:
        yield from _quantised_weights(widths, precision)
        yield from _rounded(graph, precision)
        yield from _small_floats(graph, claimed)
        if named is not None:
            yield from _kept_floats(widths, named)
    else:
        yield from _floats(graph, widths, precision, named or frozenset())
        yield from _low_precision(graph, claimed)


def _floats(
    graph: Graph, widths: Sequence[Width], precision: Precision, named: frozenset[str]
) -> Iterator[Violation]:
    """Weights and values of a float file that are wider or narrower than the claim."""
    floats = [width for width in widths if "int" not in width.dtype and width.bits >= 16]
    kept = {width.node.name for width in floats if width.bits in precision.spare_bits}
    for name in sorted(named - kept):
        yield RULE.broken("The file declares its weight as kept in floats, and it is not.", name)
    bits = [width.bits for width in floats if width.node.name not in named & kept]
    if floats and not bits:
        yield RULE.broken(
            f"The file claims {precision.name}; all of its {len(floats)} weights are declared as "
            f"kept in another precision."
        )
    elif bits and set(bits) != precision.weight_bits:
        yield RULE.broken(
            f"The file claims {precision.name}; {bits.count(16)} of its {len(bits)} weights have "
            f"16 bits."
        )
    if 16 not in precision.weight_bits | precision.spare_bits:
        yield from _narrow_values(graph, precision.name)


def _quantised_weights(widths: Sequence[Width], precision: Precision) -> Iterator[Violation]:
    """Missing, wrong or wrongly stored widths of the weights of a quantised file."""
    counts = Counter(_rounded_up(width, precision) for width in widths)
    for bits in sorted(precision.weight_bits - counts.keys()):
        yield RULE.broken(
            f"The file claims {precision.name}; none of its {len(widths)} weights has {bits} bits.",
            remedy="Quantise the file, or claim the precision that it has.",
        )
    for bits in sorted(counts.keys() - precision.weight_bits - precision.spare_bits):
        yield RULE.broken(
            f"The file claims {precision.name}; {counts[bits]} of its {len(widths)} weights have "
            f"{bits} bits."
        )
    others = [
        width
        for width in widths
        if width.bits <= _NARROW and width.is_palette != precision.has_palettes
    ]
    if others:
        are = "no palettes" if precision.has_palettes else "palettes"
        yield RULE.broken(
            f"The file claims {precision.name}; {len(others)} of its weights are {are}.",
            others[0].node.name,
        )


def _rounded_up(width: Width, precision: Precision) -> int:
    """The width of a weight in bits; palette indices count as 8 in a precision with palettes."""
    return max(width.bits, _NARROW) if width.is_palette and precision.has_palettes else width.bits


def _rounded(graph: Graph, precision: Precision) -> Iterator[Violation]:
    """Values of a quantised file that are rounded to a wrong width, or should not be rounded."""
    found = value_widths(graph)
    if precision.value_bits is None:
        if found:
            yield RULE.broken(
                f"The file claims {precision.name}; {sum(found.values())} of its operators round "
                f"values, which that precision keeps as floats."
            )
    elif not found:
        yield RULE.broken(
            f"The file claims {precision.name}; none of its values is rounded to "
            f"{precision.value_bits} bits."
        )
    elif others := found.keys() - {precision.value_bits}:
        yield RULE.broken(
            f"The file claims {precision.name}; {sum(found[bits] for bits in others)} of its "
            f"operators round values to {' or '.join(map(str, sorted(others)))} bits."
        )


def _kept_floats(widths: Sequence[Width], named: frozenset[str]) -> Iterator[Violation]:
    """Operators with float weights that the file does not declare, or declares wrongly."""
    kept = {width.node.name: width for width in widths if width.bits > _NARROW}
    for name, width in kept.items():
        if name not in named:
            yield RULE.broken(
                f"Its weight is {width.dtype}, and the file does not name it among the operators "
                f"whose weights stay floats.",
                name,
            )
    for name in sorted(named - kept.keys()):
        yield RULE.broken("The file declares its weight as kept in floats, and it is not.", name)


def _low_precision(graph: Graph, claimed: str) -> Iterator[Violation]:
    """Traces of a quantiser, each kind reported once."""
    operators = quantising_operators(graph)
    if operators:
        yield _quantised(f"{_listed(operators)} compute in low precision", claimed)
    yield from _small_floats(graph, claimed)
    weights = integer_weights(graph)
    if weights:
        kinds = _listed(Counter(weight.dtype for weight in weights))
        yield _quantised(f"{kinds} are stored as weights", claimed, weights[0].name)
    rounded = rounded_values(graph)
    if rounded and not operators:
        kinds = _listed(Counter(node.operator for node in rounded))
        yield _quantised(f"{kinds} read numbers cast to integers", claimed, rounded[0].name)


def _small_floats(graph: Graph, claimed: str) -> Iterator[Violation]:
    floats = small_floats(graph)
    if floats:
        yield _quantised(f"{_listed(floats)} are among its numbers", claimed)


def _quantised(what: str, claimed: str, node: str = "") -> Violation:
    return RULE.broken(f"{what}, and the file claims {claimed}.", node, remedy=_QUANTISED)


def _listed(counts: Counter[str]) -> str:
    """``20 MatMulInteger, 13 ConvInteger``: the most frequent first."""
    shown = [f"{count} {name}" for name, count in counts.most_common(4)]
    return ", ".join(shown) + (" and others" if len(counts) > len(shown) else "")


def _narrow_values(graph: Graph, claimed: str) -> Iterator[Violation]:
    for constant in graph.constants.values():
        if constant.dtype in _HALF:
            yield RULE.broken(
                f"This constant is {constant.dtype}, and the file claims {claimed}.", constant.name
            )
    for node in graph.nodes:
        for name in node.outputs:
            if name in graph.values and graph.values[name].dtype in _HALF:
                yield RULE.broken(
                    f"{node.operator} computes {graph.values[name].dtype}, and the file claims "
                    f"{claimed}.",
                    name,
                )


RULE = Rule(
    id="SD021",
    name="Precision",
    title="Weights and values have the precision that the file claims.",
    reason="A stray cast costs digits in one place, and a claim of lower precision widens the "
    "tolerance for wrong outputs.",
    remedy="Export the model again in the intended precision.",
    check=_check,
)
