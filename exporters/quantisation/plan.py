"""The input of a quantiser: which operators of a file to convert."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from exporters.quantisation.examples import Examples
from exporters.quantisation.families import Family, families
from slide_deploy.formats import Format
from slide_deploy.graph_checks import read_graph

ALL: Final = "all"  # operators of every kind


@dataclass(frozen=True)
class QuantisationPlan:
    """The operators of a file to quantise, and the calibration examples.

    Every quantiser takes the path of a source file, the path to write, and a plan. What it writes
    computes ``others`` as the source does, with their weights as they are.

    Attributes:
        operators: names of the nodes to quantise, in the order of the file.
        others: names of all other nodes.
        examples: inputs of the file for measuring ranges.
    """

    operators: tuple[str, ...]
    others: tuple[str, ...]
    examples: Examples


def plan_for(
    path: Path,
    format: Format,
    examples: Examples,
    *,
    kept: Collection[str] = (),
    chosen: Collection[Family] | Literal["all"] | None = None,
) -> QuantisationPlan:
    """Plan the quantisation of a file.

    Args:
        path: path of the file to quantise.
        format: record of its format.
        examples: inputs of the file for measuring ranges.
        kept: names of nodes that stay in float.
        chosen: families to quantise; ``ALL`` for all operators; None for the families of the
            format's record.
    """
    graph = read_graph(path)
    if chosen == ALL:
        wanted: set[Family | None] = {None, *Family}
    else:
        names = {Family(name) for name in format.quantised}
        wanted = {*names} if chosen is None else {*chosen}
    found = families(graph)
    operators = tuple(
        node.name
        for node in graph.nodes
        if found.get(node.name) in wanted and node.name not in kept
    )
    inside = set(operators)
    others = tuple(node.name for node in graph.nodes if node.name not in inside)
    return QuantisationPlan(operators, others, examples)


def families_of(path: Path) -> Mapping[str, Family]:
    """Return the family of each operator of a float32 file, by the name of its node."""
    return families(read_graph(path))
