"""Change a traced program: add operators and weights, and remove what is no longer used.

Every node keeps the metadata of the trace: its fake value, which defines its shape, and the layer
of the network that it belongs to.
"""

import copy
import itertools
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, InputSpec, TensorArgument
from torch.fx import Node

from slide_deploy.program.constants import is_random
from slide_deploy.program.traced import Call, Traced, call, evaluated, layer_path, reads_memory

_LAYER = ("nn_module_stack", "stack_trace", "source_fn_stack")


def duplicate(program: ExportedProgram) -> ExportedProgram:
    """Copy a program so that its graph can be changed; the weights are shared."""
    graph = copy.deepcopy(program.graph)
    signature = copy.deepcopy(program.graph_signature)
    # Copying renames nodes that are named like a Python builtin, such as "input".
    names = {old.name: new.name for old, new in zip(program.graph.nodes, graph.nodes, strict=True)}
    for spec in (*signature.input_specs, *signature.output_specs):
        if hasattr(spec.arg, "name"):
            spec.arg.name = names.get(spec.arg.name, spec.arg.name)
    return ExportedProgram(
        root=torch.fx.GraphModule(program.graph_module, graph),
        graph=graph,
        graph_signature=signature,
        state_dict=dict(program.state_dict),
        range_constraints=copy.deepcopy(program.range_constraints),
        module_call_graph=list(program.module_call_graph),
        example_inputs=program.example_inputs,
        constants=dict(program.constants),
        verifiers=program.verifiers,
    )


class Editor:
    """Queries and changes a traced program.

    Args:
        program: the program; it is changed in place.
    """

    def __init__(self, program: ExportedProgram) -> None:
        self.program = program
        self._made: dict[Node, str] = {}
        values = (node.meta.get("val") for node in program.graph.nodes)
        modes = (value.fake_mode for value in values if hasattr(value, "fake_mode"))
        self._fake_mode = next(modes, None) or FakeTensorMode()

    def forget_strides(self) -> None:
        """Turn views into reshapes, because passes may change the strides of their operands.

        Operators that read memory directly, such as ``as_strided``, get a contiguous copy, which no
        pass removes.
        """
        aten = torch.ops.aten
        for node in list(self.program.graph.nodes):
            if node.target in (aten.view.default, aten._unsafe_view.default):
                node.target = aten.reshape.default
            elif reads_memory(node):
                (source, *_) = node.all_input_nodes
                is_new = source.target is not aten.contiguous.default
                if is_new and source.meta["val"].is_contiguous():
                    node.update_arg(0, self.insert(node, aten.contiguous.default, source))

    def calls(self, *names: str) -> Iterator[Call]:
        """Yield the ATen operators in program order.

        The program may be changed meanwhile: removed operators are skipped.

        Args:
            names: names of the operators, without overloads; all operators if empty.
        """
        for node in list(self.program.graph.nodes):
            found = None if node._erased else call(node)
            if found is not None and (not names or found.name in names):
                yield found

    def weight(self, node: object) -> Tensor | None:
        """The tensor of a parameter, a buffer or a constant; None for any other node."""
        return Traced(self.program).weight(node)

    def is_output(self, node: Node) -> bool:
        """Whether a value is an output of the network."""
        return any(user.op == "output" for user in node.users)

    def constant(self, tensor: Tensor, name: str) -> Node:
        """Add a constant.

        Args:
            tensor: its value; it is copied to contiguous memory.
            name: a word or two joined by underscores that say what it is. ``finish`` prepends the
                layer that reads it, as in "blocks.0.mlp.fc1.weight".
        """
        held = tensor.detach().clone(memory_format=torch.contiguous_format)
        signature = self.program.graph_signature
        target = self._free(name)
        graph = self.program.graph
        first = next(node for node in graph.nodes)
        with graph.inserting_before(first):
            node = graph.placeholder(f"b_{target}")
        node.target = node.name  # unique, as the generated code uses it as an argument name
        node.meta["val"] = self._fake_mode.from_tensor(held, static_shapes=True)
        spec = InputSpec(InputKind.BUFFER, TensorArgument(node.name), target, persistent=True)
        signature.input_specs.insert(0, spec)
        self.program.state_dict[target] = held
        self._made[node] = name
        return node

    def _free(self, name: str) -> str:
        """An unused name of a weight: the given one, if necessary with a number."""
        taken = {spec.target for spec in self.program.graph_signature.input_specs}
        numbered = (f"{name}_{number}" for number in itertools.count(1))
        return next(each for each in itertools.chain([name], numbered) if each not in taken)

    def insert(self, like: Node, operator: Any, *args: Any, **kwargs: Any) -> Node:
        """Insert an operator.

        Args:
            like: the operator is inserted in front of this node and belongs to its layer.
            operator: an overload, such as ``torch.ops.aten.add.Tensor``.
            args: numbers, and nodes in front of ``like``.
            kwargs: the same by name.
        """
        with self.program.graph.inserting_before(like):
            node = self.program.graph.call_function(operator, args, kwargs)
        for key in _LAYER:
            if key in like.meta:
                node.meta[key] = like.meta[key]
        self._infer(node)
        return node

    def _infer(self, node: Node) -> None:
        """Compute the fake value of a node."""
        with self._fake_mode, torch.no_grad():
            node.meta["val"] = evaluated(node, lambda each: each.meta["val"])

    def replace(self, old: Node, new: Node, readers: Collection[Node] | None = None) -> None:
        """Connect the readers of a value to another one, including outputs of the network.

        Args:
            old: the value.
            new: the value to read instead.
            readers: the readers to connect; None for all.
        """
        for reader in list(old.users):
            if readers is not None and reader not in readers:
                continue
            reader.replace_input_with(old, new)
            if reader.op == "output":
                for spec in self.program.graph_signature.output_specs:
                    if spec.arg.name == old.name:
                        spec.arg.name = new.name

    def drop(self, node: Node) -> None:
        """Remove an operator without readers, and every operand that only it read."""
        if node._erased or node.users or node.op != "call_function":
            return
        sources = node.all_input_nodes
        self.program.graph.erase_node(node)
        for source in sources:
            self.drop(source)

    def clean(self) -> None:
        """Remove everything that no output depends on, including unused weights."""
        graph, signature = self.program.graph, self.program.graph_signature
        # ``user_inputs`` of the signature lists tensors only, the specs list all inputs.
        inputs = {
            spec.arg.name for spec in signature.input_specs if spec.kind == InputKind.USER_INPUT
        }
        # A buffer that the network only writes has no reader, but has to stay.
        changed = signature.buffers_to_mutate.values()
        inputs |= {spec.arg.name for spec in signature.input_specs if spec.target in changed}
        for node in reversed(list(graph.nodes)):
            is_needed = node.users or node.op == "output" or node.name in inputs
            # Drawing random numbers counts as impure, but has no effect if nothing reads them.
            is_kept = node.op == "call_function" and node.is_impure() and not is_random(node)
            if not is_needed and not is_kept:
                if node.op == "placeholder":
                    self._forget(node)
                graph.erase_node(node)

    def finish(self) -> None:
        """Validate the program, name its new constants and compile it, so that it can run."""
        signature = self.program.graph_signature
        specs = {spec.arg.name: spec for spec in signature.input_specs}
        for node, name in self._made.items():
            path = "" if node._erased else layer_path(next(iter(node.users)))
            if not node._erased and path:
                spec = specs[node.name]
                held = self.program.state_dict.pop(spec.target)
                spec.target = None
                spec.target = self._free(f"{path}.{name}")
                self.program.state_dict[spec.target] = held
        self._made.clear()
        self.program.graph.lint()
        self.program.graph_module.recompile()

    def _forget(self, placeholder: Node) -> None:
        signature = self.program.graph_signature
        (spec,) = (each for each in signature.input_specs if each.arg.name == placeholder.name)
        signature.input_specs.remove(spec)
        if spec.target is not None:
            held = (each.target for each in signature.input_specs)
            if spec.target not in held:
                self.program.state_dict.pop(spec.target, None)
                self.program.constants.pop(spec.target, None)
