"""No constant is stored twice.

Two constants that share their place in the file are one. Constants of one repeated number, as fresh
normalisation weights are, say nothing about copying.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from slide_deploy.graph_checks.graph import Constant, Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.allow_duplicates:
        return
    alike: dict[tuple[str, tuple[int, ...]], list[Constant]] = defaultdict(list)
    for constant in {constant.source: constant for constant in graph.constants.values()}.values():
        if constant.size >= policy.duplicate_bytes:
            alike[constant.dtype, constant.shape].append(constant)
    for candidates in alike.values():
        if len(candidates) > 1:  # nothing else needs to be read
            yield from _copies(candidates)


def _copies(candidates: list[Constant]) -> Iterator[Violation]:
    first: dict[bytes, Constant] = {}
    for constant in candidates:
        original = first.setdefault(constant.digest, constant)
        if original is not constant and not _is_uniform(constant):
            yield RULE.broken(
                f"Holds the same {constant.size} bytes as {original.name}.", constant.name
            )


def _is_uniform(constant: Constant) -> bool:
    array = constant.array()
    return array is not None and bool(np.all(array == array.flat[0]))


RULE = Rule(
    id="SD014",
    name="Duplicates",
    title="No constant is stored twice.",
    reason="Copies cost download and memory, and one of them is often stale.",
    remedy="Share one initialiser; onnxscript's and OpenVINO's own passes do it.",
    check=_check,
)
