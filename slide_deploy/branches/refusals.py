"""Explain why sums and chains that look like one convolution stay as they are."""

from collections.abc import Sequence
from dataclasses import replace

from torch.fx import Node

from slide_deploy.branches.plan import why_not
from slide_deploy.branches.shapes import CannotMerge, chained
from slide_deploy.branches.steps import Blocked, BranchStep
from slide_deploy.branches.terms import Term, Values

_ELSEWHERE = "a value in between has other readers"


def of_sum(terms: Sequence[Term], left: Sequence[Term], values: Values) -> str | None:
    """Explain why terms of a sum were not merged.

    Args:
        terms: terms of the sum, at least two.
        left: the terms that were not merged.
        values: values of the program.

    Returns:
        A clause; None if there is no reason to expect a merge.
    """
    for term in left:
        for other in terms:
            why = None if other is term else _of_pair(term, other, values)
            if why is not None:
                return why
    return None


def _of_pair(one: Term, other: Term, values: Values) -> str | None:
    ours, theirs = _below(one.node, values), _below(other.node, values)
    for node, (has_convolution, why) in ours.items():
        if node in theirs and (has_convolution or theirs[node][0]):
            return why or theirs[node][1] or why_not((one, other), values)
    return None


def _below(node: Node, values: Values) -> dict[Node, tuple[bool, str | None]]:
    """The values that a value depends on through convolutions and the like, nearest first.

    Each comes with two facts: whether a convolution lies in between, and why the operators in
    between cannot be merged (None if they can).
    """
    below: dict[Node, tuple[bool, str | None]] = {values.first(node): (False, None)}
    has_convolution, why = False, None
    while isinstance(found := values.found(node), BranchStep | Blocked):
        if isinstance(found, Blocked):
            why = why or found.why
        is_padding = isinstance(found, BranchStep) and found.role == "padding"
        if len(values.readers(node)) > 1 and not is_padding:
            why = why or _ELSEWHERE
        has_convolution |= isinstance(found, BranchStep) and found.role == "convolution"
        has_convolution |= isinstance(found, Blocked) and "convolution" in found.why
        node = found.operand
        below.setdefault(values.first(node), (has_convolution, why))
    return below


def of_chain(node: Node, values: Values) -> str | None:
    """Explain why an operator is not merged with the convolution that it reads.

    Returns:
        A clause; None if there is no reason to expect a merge.
    """
    found = values.found(node)
    if not isinstance(found, BranchStep | Blocked):
        return None
    first = values.found(found.operand)
    if not isinstance(first, BranchStep) or first.role not in ("convolution", "normalisation"):
        return None
    if isinstance(found, Blocked):
        return found.why if "normalisation" in found.why else None
    if found.role == "normalisation" and len(values.readers(found.operand)) > 1:
        return _ELSEWHERE
    if found.role != "convolution" or len(values.readers(found.operand)) > 1:
        return None
    ways = values[found.operand].terms[0].ways
    if len(ways) < 2:
        return None
    below = ways[1]
    zeros = (0,) * len(found.shape.taps)
    bare = replace(found.shape, before=zeros, after=zeros)
    if chained(bare, below.shape, bool).weights > found.cost + below.cost:
        return None
    try:
        chained(found.shape, below.shape, lambda: bool(below.kernel().bias.any()))
    except CannotMerge as error:
        return str(error)
    return None
