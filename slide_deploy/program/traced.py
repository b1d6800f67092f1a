"""Query a traced program: which nodes are needed, which are constant, which are equal."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.fx.node import map_arg

# Class of the networks that are read from a file's graph (``onnx_network.module``).
_GRAPH = "OnnxModule"


@dataclass(frozen=True)
class Call:
    """An operator call in a traced program.

    Attributes:
        node: the node.
        name: name of the operator without its overload, such as ``conv2d``.
        arguments: arguments by their names in the schema, including defaults.
    """

    node: Node
    name: str
    arguments: Mapping[str, Any]


class Traced:
    """Queries of a traced program.

    Args:
        program: the result of ``torch.export.export``.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program

    @cached_property
    def live(self) -> tuple[Node, ...]:
        """The nodes that an output depends on, in program order."""
        nodes = list(self.program.graph.nodes)
        waiting = [node for node in nodes if node.op == "output"]
        reached = set(waiting)
        while waiting:
            for source in waiting.pop().all_input_nodes:
                if source not in reached:
                    reached.add(source)
                    waiting.append(source)
        return tuple(node for node in nodes if node in reached and node.op != "output")

    @cached_property
    def constant(self) -> frozenset[Node]:
        """The nodes that no input affects: weights and what is computed from them."""
        inputs = set(self.program.graph_signature.user_inputs)
        changed = self.program.graph_signature.buffers_to_mutate.values()
        buffers = self.program.graph_signature.inputs_to_buffers
        inputs |= {name for name, buffer in buffers.items() if buffer in changed}
        constant: set[Node] = set()
        for node in self.live:
            is_source = node.op in ("placeholder", "get_attr") and node.name not in inputs
            if is_source or (
                node.op == "call_function" and constant.issuperset(node.all_input_nodes)
            ):
                constant.add(node)
        return frozenset(constant)

    @cached_property
    def identity(self) -> Mapping[Node, str]:
        """A key for each live node, equal for nodes that compute the same."""
        known: dict[Node, str] = {}
        for node in self.live:
            if node.op == "call_function":
                arguments = torch.fx.map_arg((node.args, node.kwargs), known.__getitem__)
                key = f"{node.target} {arguments}"
            else:
                key = f"{node.op} {_digest(self.weight(node)) or node.name}"
            known[node] = hashlib.sha256(key.encode()).hexdigest()
        return known

    def calls(self) -> Iterator[Call]:
        """Yield the ATen operators among the live nodes that are not constant."""
        for node in self.live:
            found = None if node in self.constant else call(node)
            if found is not None:
                yield found

    def weight(self, node: object) -> torch.Tensor | None:
        """The tensor of a parameter, a buffer or a constant; None for any other node.

        A buffer that the network changes counts as another node.
        """
        if not isinstance(node, Node) or node.op != "placeholder":
            return None
        signature = self.program.graph_signature
        name = (
            signature.inputs_to_parameters.get(node.name)
            or signature.inputs_to_buffers.get(node.name)
            or signature.inputs_to_lifted_tensor_constants.get(node.name)
        )
        held = None
        if name is not None and name not in signature.buffers_to_mutate.values():
            held = self.program.state_dict.get(name, self.program.constants.get(name))
        return held.detach() if isinstance(held, torch.Tensor) else None


def call(node: object) -> Call | None:
    """Read a node as an ATen operator; None if it is none."""
    if not isinstance(node, Node) or not isinstance(node.target, torch._ops.OpOverload):
        return None
    schema = node.target._schema
    arguments = {
        argument.name: argument.default_value if argument.has_default_value() else None
        for argument in schema.arguments
    }
    names = [argument.name for argument in schema.arguments]
    arguments |= dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    return Call(node, schema.name.partition("::")[2], arguments)


def shape(node: object) -> tuple[int | torch.SymInt, ...]:
    """The shape of a value; () if it is no tensor."""
    held = node.meta.get("val") if isinstance(node, Node) else None
    return tuple(map(_number, held.shape)) if isinstance(held, torch.Tensor) else ()


def _number(size: int | torch.SymInt) -> int | torch.SymInt:
    """Convert a size that tracing left open and later resolved to its number."""
    is_open = isinstance(size, torch.SymInt) and not size.node.expr.is_number
    return size if is_open else int(size)


def reads_memory(node: Node) -> bool:
    """Whether an operator depends on the memory layout of its operand."""
    aten = torch.ops.aten
    return node.target in (
        *(aten.as_strided.default, aten.view_as_complex.default, aten.view.dtype),
    )


def is_laid_out(node: Node) -> bool:
    """Whether any reader depends on the memory layout of a value."""
    return any(map(reads_memory, node.users))


def layer_path(node: Node) -> str:
    """The name of the layer that a node belongs to, as in the names of torch's weights."""
    stack = node.meta.get("nn_module_stack") or {}
    path, _ = next(reversed(stack.values()), ("", ""))
    return str(path)


def layer_of(node: Node) -> str:
    """The name of the layer that a node belongs to in the user's network, with its class.

    Most operators of a graph from a file belong to no layer. They are named by the nearest layers
    that they read.
    """
    stack = node.meta.get("nn_module_stack") or {}
    _, kind = next(reversed(stack.values()), ("", "the network"))
    kind = (kind if isinstance(kind, str) else kind.__qualname__).rpartition(".")[2]
    name = layer_path(node).removeprefix("module").removeprefix(".")
    if name or kind != _GRAPH:
        return f"{name} ({kind})" if name else kind
    behind = list(dict.fromkeys(map(layer_of, _nearest_layers(node))))
    return f"the graph behind {' and '.join(behind[:2])}" if behind else "the graph"


def _nearest_layers(node: Node) -> list[Node]:
    """The operators of layers that a node of a graph reads through operators without one."""
    found: list[Node] = []
    pending, seen = list(node.all_input_nodes), {node}
    while pending:
        each = pending.pop(0)
        if each in seen or each.op == "placeholder":
            continue
        seen.add(each)
        if layer_path(each).removeprefix("module"):
            found.append(each)
        else:
            pending += each.all_input_nodes
    return found


def _digest(held: torch.Tensor | None) -> str:
    """A hash of a tensor's content; empty for None."""
    if held is None:
        return ""
    content = held.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return f"{held.dtype} {tuple(held.shape)} {hashlib.sha256(content.data).hexdigest()}"


def user_outputs(program: ExportedProgram) -> list[torch.Tensor]:
    """The fake tensors of a program's outputs, with types and shapes, in order."""
    (output,) = (node for node in program.graph.nodes if node.op == "output")
    names = program.graph_signature.user_outputs
    held = {node.name: node.meta.get("val") for node in output.all_input_nodes}
    return [held[name] for name in names if isinstance(held.get(name), torch.Tensor)]


def same_size(one: int | torch.SymInt, other: int | torch.SymInt) -> bool:
    """Whether two sizes are equal for all values of open sizes.

    A comparison with == would make torch fix an open size that happens to be equal in the trace.
    """
    return bool(statically_known_true(one == other))


def same_sizes(ones: Sequence[int | torch.SymInt], others: Sequence[int | torch.SymInt]) -> bool:
    """Whether two shapes are equal for all values of open sizes."""
    return len(ones) == len(others) and all(map(same_size, ones, others))


def same_shape(one: object, other: object) -> bool:
    """Whether two values are tensors of the same shape with at least one axis."""
    return bool(shape(one)) and same_sizes(shape(one), shape(other))


def same_type(one: Node, other: Node) -> bool:
    """Whether two values are tensors of the same shape and element type."""
    ours, theirs = one.meta.get("val"), other.meta.get("val")
    return (
        isinstance(ours, torch.Tensor)
        and isinstance(theirs, torch.Tensor)
        and ours.dtype == theirs.dtype
        and same_sizes(shape(one), shape(other))
    )


def evaluated(node: Node, value_of: Callable[[Node], Any]) -> Any:
    """Evaluate an operator.

    Args:
        node: the operator.
        value_of: returns the value of each operand.
    """
    args, kwargs = map_arg((node.args, node.kwargs), value_of)
    assert callable(node.target)  # the target of other kinds of nodes is a name
    return node.target(*args, **kwargs)
