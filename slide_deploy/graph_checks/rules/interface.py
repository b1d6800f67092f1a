"""Inputs and outputs have the names, types and shapes that callers rely on.

A file that declares feature maps (see ``features``) must have exactly these as its outputs.
"""

from collections.abc import Iterator, Sequence

from slide_deploy.graph_checks.features import FEATURES_KEY, read_features
from slide_deploy.graph_checks.graph import Dimension, Graph, Value
from slide_deploy.graph_checks.policy import ANY_SIZE, Interface, Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    yield from _compare("input", graph.inputs, policy.inputs, graph, policy)
    try:
        outputs = _outputs(graph, policy)
    except ValueError as error:
        yield RULE.broken(f"The file's {FEATURES_KEY} {error}.")
        return
    yield from _compare("output", graph.outputs, outputs, graph, policy)


def _outputs(graph: Graph, policy: Policy) -> tuple[Interface, ...]:
    """What the outputs must be; ValueError where the declaration cannot be read."""
    declared, every = read_features(graph.metadata), policy.features
    if declared is None or every is None:
        return policy.outputs
    return tuple(
        Interface(found.name, every.types, _narrowed(every.shape, (every.shape[0], *found.shape)))
        for found in declared
    )


def _narrowed(
    allowed: tuple[int | str, ...], declared: tuple[int | str, ...]
) -> tuple[int | str, ...]:
    """What the policy allows, with the declared size where any would do."""
    if len(allowed) != len(declared):
        return allowed
    return tuple(
        other if size == ANY_SIZE else size for size, other in zip(allowed, declared, strict=True)
    )


def _compare(
    side: str,
    values: Sequence[Value],
    expected: Sequence[Interface],
    graph: Graph,
    policy: Policy,
) -> Iterator[Violation]:
    present = {value.name: value for value in values}
    wanted = {interface.name: interface for interface in expected}
    for name in present.keys() - wanted.keys():
        known = ", ".join(wanted)
        yield RULE.broken(f"This {side} is not in the policy, which knows {known}.", name)
    for name, interface in wanted.items():
        if name not in present:
            yield RULE.broken(f"The graph has no {side} of this name.", name)
            continue
        value = present[name]
        if value.dtype not in interface.types:
            allowed = " or ".join(sorted(interface.types))
            yield RULE.broken(f"This {side} is {value.dtype}, not {allowed}.", name)
        if not _fits(value, interface, graph, policy):
            yield RULE.broken(
                f"This {side} has the shape {_written(value.shape)}, not "
                f"{_written(interface.shape)}.",
                name,
            )


def _fits(value: Value, interface: Interface, graph: Graph, policy: Policy) -> bool:
    if value.shape is None or len(value.shape) != len(interface.shape):
        return False
    return all(
        _size_fits(size, wanted, graph, policy)
        for size, wanted in zip(value.shape, interface.shape, strict=True)
    )


def _size_fits(size: Dimension, wanted: int | str, graph: Graph, policy: Policy) -> bool:
    if isinstance(size, int):
        return size > 0 if isinstance(wanted, str) else size == wanted
    if wanted == ANY_SIZE or wanted not in policy.dynamic_names:
        return False
    return size == wanted or (size is None and graph.format in policy.unnamed_dynamic)


def _written(shape: Sequence[Dimension] | None) -> str:
    if shape is None:
        return "unknown"
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


RULE = Rule(
    id="SD010",
    name="Interface",
    title="Inputs and outputs have the policy's names, types and shapes.",
    reason="Applications ask for them by name; a renamed input or a fixed batch breaks callers, "
    "not the export.",
    remedy="Export with the expected names and shapes, or describe yours in the policy.",
    check=_check,
)
