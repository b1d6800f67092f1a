"""A rule, and the violation that it reports when a graph breaks it."""

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
        node: the node, value or attention; empty for the whole file.
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
    """One requirement on a graph.

    Attributes:
        id: stable, so that reports and suppressions can refer to it.
        name: the identifier in words, for reports.
        title: what must hold, a sentence.
        reason: why, a sentence.
        remedy: what to do where it does not hold.
        check: finds the violations of a graph. It must handle any graph that a reader returns.
        in_floats: whether it checks the network, and so the graph without low-precision numbers
            (``in_floats``); otherwise it checks the file as stored.
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
        """A violation of this rule, with the rule's remedy unless another is given."""
        return Violation(self.id, severity, node, message, remedy or self.remedy)
