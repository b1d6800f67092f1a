"""What a rule is, and what it says when a graph breaks it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.policy import Policy

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Violation:
    """One place where a graph breaks a rule.

    Attributes:
        rule: the rule's identifier.
        severity: an error fails the check, a warning does not.
        node: the node, value or attention; empty where the whole file is meant.
        message: what is wrong there, a sentence.
        remedy: what to do, a sentence.
    """

    rule: str
    severity: Severity
    node: str
    message: str
    remedy: str


@dataclass(frozen=True)
class Rule:
    """One thing that a graph must keep.

    Attributes:
        id: stable, for reports and for whoever silences it.
        name: the same in words, for reports.
        title: what must hold, a sentence.
        reason: why, a sentence.
        remedy: what to do where it does not hold.
        check: finds the violations of a graph; must get along with any graph that a reader gives.
        in_floats: whether it looks at the network, and so at the graph without its numbers of low
            precision (``in_floats``), or at the file.
    """

    id: str
    name: str
    title: str
    reason: str
    remedy: str
    check: Callable[[Graph, Policy], Iterable[Violation]]
    in_floats: bool = False

    def broken(
        self, message: str, node: str = "", *, severity: Severity = "error", remedy: str = ""
    ) -> Violation:
        """A violation of this rule; with its own remedy unless another is given."""
        return Violation(self.id, severity, node, message, remedy or self.remedy)
