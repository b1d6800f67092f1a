"""SD009: sizes are fixed, or open as the file declares and the policy allows.

An open batch is the first size, and merges with heads and windows (``2*batch``). If the file
declares that other sizes of its inputs are open, such as height and width, sizes inside the graph
may be open too. A policy may allow any open size, for files that declare nothing.
"""

import re
from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Dimension, Graph
from slide_deploy.graph_checks.interface import DeclaredInterface, read_interface
from slide_deploy.graph_checks.policy import ANY_SIZE, Policy
from slide_deploy.graph_checks.readers.onnx_shapes import UNEXPRESSED
from slide_deploy.graph_checks.rules.rule import Rule, Violation

# A name of a size, not of a function that computes with it: floor(height/2).
_NAME = re.compile(r"[A-Za-z_]\w*+(?!\()")


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    try:
        declared = read_interface(graph.metadata)
    except ValueError:  # SD010 reports it
        declared = None
    outside = dict.fromkeys(value.name for value in (*graph.inputs, *graph.outputs))
    inside = dict.fromkeys(name for node in graph.nodes for name in node.outputs)
    for name in (*outside, *(name for name in inside if name not in outside)):
        for axis, size in enumerate(graph.shape(name) or ()):
            reason = _reason(size, axis, policy, declared)
            if reason:
                yield RULE.broken(f"Size {axis} of this value {reason}.", name)


def _reason(size: Dimension, axis: int, policy: Policy, declared: DeclaredInterface | None) -> str:
    """Why a size is not allowed; empty if it is."""
    if isinstance(size, int):
        return "" if size > 0 else "is 0"
    if not policy.dimensions.dynamic:
        return "is open, and the policy requires static shapes"
    if ANY_SIZE in policy.dimensions.dynamic:
        return ""
    if axis > 0 and not (declared and declared.opens_more_than_the_first):
        return f"is open ({size}), and only the first may be" if size else "is open"
    names = {name for name in _NAME.findall(size or "") if not name.startswith(UNEXPRESSED)}
    allowed = policy.dimensions.dynamic | (declared.open_names if declared else frozenset())
    unknown = names - allowed
    return f"depends on {', '.join(sorted(unknown))}" if unknown else ""


RULE = Rule(
    id="SD009",
    name="Dimensions",
    title="Sizes are static, or open under a name that the file declares or the policy allows.",
    reason="An unintended open size keeps runtimes from planning memory and choosing kernels.",
    remedy="Export with fixed sizes, or declare the open ones when you export the model.",
    check=_check,
)
