"""SD014: no constant is stored twice.

Two constants that share their bytes in the file count as one. Constants that repeat one number, as
freshly initialised normalisation weights do, are not taken for copies.
"""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from slide_deploy.graph_checks.graph import Constant, Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    if policy.constants.duplicates:
        return
    alike: dict[tuple[str, tuple[int, ...]], list[Constant]] = defaultdict(list)
    for constant in graph.stored:
        if constant.size >= policy.constants.duplicate_bytes:
            alike[constant.dtype, constant.shape].append(constant)
    for candidates in alike.values():
        if len(candidates) > 1:  # the bytes of a single candidate need not be read
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
    remedy="Share one initialiser; the passes of onnxscript and OpenVINO do it.",
    check=_check,
)
