"""SD010: inputs and outputs have the names, types and shapes that callers rely on.

The exporter declares them in the file (see ``graph_checks.interface``). A policy with
``[[inputs]]`` or ``[[outputs]]`` requires exactly these, which allows intended renames. An input or
output that keeps its name must also match the file's declaration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from slide_deploy.graph_checks.graph import Dimension, Graph, Value
from slide_deploy.graph_checks.interface import (
    INTERFACE_KEY,
    DeclaredInterface,
    InterfacePort,
    read_interface,
)
from slide_deploy.graph_checks.policy import ANY_SIZE, Interface, Policy
from slide_deploy.graph_checks.rules.rule import Rule, Violation

# Types that may replace each other: Core ML has no int64, and files of half precision use float16.
# Replacements that only one format makes are in its dialect.
_INTERCHANGEABLE: Mapping[str, frozenset[str]] = {
    type_: frozenset(family)
    for family in (("float32", "float16"), ("int64", "int32"))
    for type_ in family
}


def _check(graph: Graph, policy: Policy) -> Iterator[Violation]:
    sides = (
        ("input", graph.inputs, policy.inputs),
        ("output", graph.outputs, policy.outputs),
    )
    unnamed = graph.format in policy.dimensions.unnamed
    try:
        declared = read_interface(graph.metadata)
    except ValueError as error:
        yield RULE.broken(f"The file's {INTERFACE_KEY} {error}.")
        declared = None
    for side, values, required in sides:
        ports = () if declared is None else getattr(declared, f"{side}s")
        ports = _with_types_of_format(graph, ports, values)
        if required is not None:
            yield from _against_policy(side, values, required, graph, policy)
            kept = {interface.name for interface in required} & {value.name for value in values}
            ports = tuple(port for port in ports if port.name in kept)
            values = tuple(value for value in values if value.name in {p.name for p in ports})
        if declared is not None:
            yield from _against_declaration(side, values, ports, declared, unnamed)


def _with_types_of_format(
    graph: Graph, ports: Sequence[InterfacePort], values: Sequence[Value]
) -> tuple[InterfacePort, ...]:
    """Declarations in which each type that the format lacks is replaced by its substitute."""
    types = {value.name: value.dtype for value in values}
    known = graph.dialect.interface_types
    return tuple(
        replace(port, type=types[port.name])
        if types.get(port.name) in known.get(port.type, "").split()
        else port
        for port in ports
    )


def _against_declaration(
    side: str,
    values: Sequence[Value],
    ports: Sequence[InterfacePort],
    declared: DeclaredInterface,
    may_be_unnamed: bool,
) -> Iterator[Violation]:
    open_names = declared.open_names
    # A converter that cannot name sizes also loses fixed ones where height and width are open.
    may_be_lost = side == "output" and may_be_unnamed and declared.opens_more_than_the_first
    present = {value.name: value for value in values}
    wanted = {port.name: port for port in ports}
    for name in present.keys() - wanted.keys():
        known = ", ".join(wanted)
        yield RULE.broken(f"This {side} is not declared; the file declares {known}.", name)
    for name, port in wanted.items():
        if name not in present:
            yield RULE.broken(f"The file declares this {side}, and the graph has none.", name)
            continue
        value = present[name]
        if value.dtype not in _INTERCHANGEABLE.get(port.type, {port.type}):
            yield RULE.broken(f"This {side} is {value.dtype}, and declared as {port.type}.", name)
        if not _is_declared(value, port, open_names, may_be_unnamed, may_be_lost):
            yield RULE.broken(
                f"This {side} has the shape {_written(value.shape)}, and is declared as "
                f"{_written(port.shape)}.",
                name,
            )


def _is_declared(
    value: Value,
    port: InterfacePort,
    open_names: frozenset[str],
    may_be_unnamed: bool,
    may_be_lost: bool,
) -> bool:
    if value.shape is None or len(value.shape) != len(port.shape):
        return False
    for size, wanted in zip(value.shape, port.shape, strict=True):
        is_open = isinstance(wanted, str) and not isinstance(size, int)
        # Tools write a computed size, such as 2*height, in several ways, but keep plain names.
        may_differ = wanted not in open_names or (size is None and may_be_unnamed)
        is_lost = size is None and may_be_lost
        if size != wanted and not (is_open and may_differ) and not is_lost:
            return False
    return True


def _against_policy(
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
        yield RULE.broken(f"This {side} is not in the policy, which lists {known}.", name)
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
    if wanted == ANY_SIZE or wanted not in policy.dimensions.dynamic:
        return False
    return size == wanted or (size is None and graph.format in policy.dimensions.unnamed)


def _written(shape: Sequence[Dimension] | None) -> str:
    if shape is None:
        return "unknown"
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


RULE = Rule(
    id="SD010",
    name="Interface",
    title="Inputs and outputs have the names, types and shapes that the file declares and the "
    "policy requires.",
    reason="Applications use their names; a renamed input or a fixed batch breaks callers, "
    "not the export.",
    remedy="Export the model again, or describe its inputs and outputs in the policy.",
    check=_check,
)
