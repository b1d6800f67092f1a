"""Sizes are fixed, but for a named batch, which stands first.

Inputs and outputs are the business of the interface rule; this one looks at what lies between. The
batch merges with heads and windows (``2*batch``) and stays the first dimension all the same.
"""

import re
from collections.abc import Iterator

from slide_deploy.graph_checks.graph import Dimension, Graph
from slide_deploy.graph_checks.policy import Policy
from slide_deploy.graph_checks.readers.onnx_shapes import UNEXPRESSED
from slide_deploy.graph_checks.rules.rule import Rule, Violation

_NAME = re.compile(r"[A-Za-z_]\w*")


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    outside = {value.name for value in (*graph.inputs, *graph.outputs)}
    for node in graph.nodes:
        for name in node.outputs:
            if name in outside:
                continue
            for axis, size in enumerate(graph.shape(name) or ()):
                reason = _reason(size, axis, policy)
                if reason:
                    yield RULE.broken(f"Size {axis} of this value {reason}.", name)


def _reason(size: Dimension, axis: int, policy: Policy) -> str:
    """Why a size is not allowed; empty if it is."""
    if isinstance(size, int):
        return "" if size > 0 else "is 0"
    if not policy.dynamic_names:
        return "is open, and the policy asks for static shapes"
    if axis > 0:
        return f"is open ({size}), and only the first may be" if size else "is open"
    names = set(_NAME.findall(size or ""))
    unknown = {name for name in names if not name.startswith(UNEXPRESSED)} - policy.dynamic_names
    return f"depends on {', '.join(sorted(unknown))}" if unknown else ""


RULE = Rule(
    id="SD009",
    name="Dimensions",
    title="Sizes are static, or open in the first dimension under an allowed name.",
    reason="An open height or width keeps runtimes from planning memory and choosing kernels.",
    remedy="Export for one image size; leave only the batch open (--dynamic-batch).",
    check=_check,
)
