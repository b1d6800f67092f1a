"""Read files and check them against a policy."""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.graph_checks.graph import Graph
from slide_deploy.graph_checks.in_floats import in_floats
from slide_deploy.graph_checks.policy import Policy, policy_for
from slide_deploy.graph_checks.readers import read_graph
from slide_deploy.graph_checks.readers.limits import short
from slide_deploy.graph_checks.rules import RULES, Rule, Violation

# A file may break a rule in thousands of places; reports list this many of each rule.
MAX_VIOLATIONS = 25


@dataclass(frozen=True)
class Report:
    """The result of checking one file.

    Attributes:
        path: the file, as the caller named it.
        format: name of its format; None if the file could not be read.
        policy: name of the policy; empty if the policy depends on a file that could not be read.
        violations: in the order of the rules.
        unusable: why the file could not be read; empty if it could.
    """

    path: Path
    format: str | None
    policy: str
    violations: tuple[Violation, ...]
    unusable: str = ""

    @property
    def errors(self) -> tuple[Violation, ...]:
        """The violations that fail the check."""
        return tuple(found for found in self.violations if found.severity == "error")

    @property
    def passed(self) -> bool:
        """Whether the file was read and breaks no rule; warnings do not count."""
        return not self.unusable and not self.errors


def check_file(path: str | os.PathLike[str], policy: Policy | None = None) -> Report:
    """Check one file against a policy.

    Args:
        path: a model file or package of any known format, such as ``.onnx`` or ``.mlpackage``.
        policy: if left out, the built-in ``standard-ops`` for a file with declarations of
            slide-deploy, and ``portable`` for any other.

    Raises:
        InputError: the file cannot be used.
    """
    graph = read_graph(path)
    policy = policy or policy_for(graph.metadata)
    found = tuple(check_graph(graph, policy))
    return Report(Path(path), graph.format, policy.name, found)


def check_files(
    paths: Iterable[str | os.PathLike[str]],
    policy: Policy | None = None,
    step: Callable[[str], None] = lambda name: None,
) -> tuple[Report, ...]:
    """Check several files as ``check_file`` does; an unusable one does not stop the others.

    Args:
        paths: model files or packages.
        policy: for all of them; None chooses one for each file.
        step: called with a message before each file, to show progress.
    """
    reports = []
    for path in paths:
        step(f"check {os.fspath(path)}")
        try:
            reports.append(check_file(path, policy))
        except InputError as error:
            name = policy.name if policy else ""
            reports.append(Report(Path(path), None, name, (), unusable=str(error)))
    return tuple(reports)


def check_graph(graph: Graph, policy: Policy) -> Iterator[Violation]:
    """Yield the violations of every rule, at most ``MAX_VIOLATIONS`` of each."""
    network = in_floats(graph)
    for rule in RULES:
        yield from _limited(rule, network if rule.in_floats else graph, policy)


def _limited(rule: Rule, graph: Graph, policy: Policy) -> Iterator[Violation]:
    found = iter(rule.check(graph, policy))
    for violation in islice(found, MAX_VIOLATIONS):
        # Names come from an untrusted file, so they are shortened and made printable first.
        node, message = short(violation.node), short(violation.message, 400)
        yield replace(violation, node=node, message=message)
    if next(found, None) is not None:
        yield rule.broken(f"There are more than {MAX_VIOLATIONS} violations of this rule.")
