"""Convert a program, as Apple's library reads it, to plain data. Runs in a child process.

Operators are named by their index: ``conv2d_188`` is the 189th operator of the program, and its
value has the same name. A composite, such as a normalisation, is a separate graph that the program
invokes. Its operators replace the invocation, because they are what runs. The attributes that a
composite declares are for compilers that have it as one operator, and have to agree with its
operators.
"""

import base64
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

MAX_OPERATIONS = 30_000
_MAX_DEPTH = 10
# No vision model has a larger inline constant, which is one repeated number.
_MAX_INLINE_ELEMENTS = 16 << 20
_DIALECT, _BROADCASTING = "coreai.", "decomposable.broadcasting_"
_SYMBOL = re.compile(r'@"?([^">\s]+)')
_EPSILON = re.compile(r"\beps(?:ilon)? = ([-+0-9.eE]+)")


class UnreadableAsset(Exception):
    """The graph rules cannot check the program; the message is a clause."""


@dataclass
class Walk:
    """Collects the operators of a program, with composites replaced by their operators.

    Attributes:
        operations: in order, as plain data.
        constants: by name, as plain data.
        values: type and shape of every value, by its name.
        bound: names of the arguments of control-flow bodies, set by the operator that runs them.
        computed: names and values that the program's own operators compute.
    """

    graphs: dict[str, Any]
    operations: list[dict[str, Any]] = field(default_factory=list)
    constants: dict[str, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, tuple[str, list[int | None] | None]] = field(default_factory=dict)
    bound: list[str] = field(default_factory=list)
    computed: list[tuple[str, Any]] = field(default_factory=list)

    def body(self, block: Any, names: dict[Any, str], prefix: str, scope: str, depth: int) -> Any:
        """Collect the operators of a block, and return the operator that ends it.

        Args:
            block: of operators.
            names: names of values; those that the block computes are added.
            prefix: of the names of its operators.
            scope: prefix of the names of its constants.
            depth: of nesting.
        """
        if depth > _MAX_DEPTH:
            raise UnreadableAsset(f"its graphs are nested deeper than {_MAX_DEPTH} levels")
        last = None
        for index, operation in enumerate(block.operations):
            last = operation
            word = _word(operation.name)
            if word == "constant":
                name = f"{scope}{word}_{index}"
                names[operation.results[0]] = name
                self._constant(operation, name)
            elif word == "invoke":
                self._invoke(operation, names, f"{prefix}{word}_{index}", depth)
            elif word not in ("output", "yield", "condition"):
                self._operation(operation, word, names, f"{prefix}{word}_{index}", scope, depth)
            if depth == 0 and word != "constant":
                self.computed.extend((names[value], value) for value in operation.results)
        return last

    def _operation(
        self, operation: Any, word: str, names: dict[Any, str], name: str, scope: str, depth: int
    ) -> None:
        inputs = [names[value] for value in operation.operands]
        for index, region in enumerate(operation.regions):
            for block in region.blocks:
                part = f"{name}.{index}/"
                for place, argument in enumerate(block.arguments):
                    names[argument] = f"{part}argument_{place}"
                    self.values[names[argument]] = _type(argument.type)
                    self.bound.append(names[argument])
                end = self.body(block, names, part, f"{scope}{part}", depth + 1)
                # The outputs of a block count as inputs of the operator that runs it.
                inputs += [] if end is None else [names[value] for value in end.operands]
        outputs = []
        for place, value in enumerate(operation.results):
            names[value] = name if len(operation.results) == 1 else f"{name}.{place}"
            self.values[names[value]] = _type(value.type)
            outputs.append(names[value])
        attributes = {each.name: _attribute(each.attr) for each in operation.attributes}
        if len(self.operations) >= MAX_OPERATIONS:
            raise UnreadableAsset(f"it has more than {MAX_OPERATIONS:,} operators")
        self.operations.append(
            {"name": name, "operator": word, "inputs": inputs, "outputs": outputs}
            | {"attributes": {key: held for key, held in attributes.items() if held is not None}}
        )

    def _invoke(self, operation: Any, names: dict[Any, str], name: str, depth: int) -> None:
        symbol = _SYMBOL.search(str(operation.attributes["callee"]))
        called = symbol[1] if symbol is not None else ""
        if called not in self.graphs:
            raise UnreadableAsset(f"it invokes {called}, which it does not have")
        graph = self.graphs[called]
        _check_declaration(called, graph)
        block = graph.regions[0].blocks[0]
        inside = {
            argument: names[given]
            for argument, given in zip(block.arguments, operation.operands, strict=True)
        }
        end = self.body(block, inside, f"{name}/", f"{called}/", depth + 1)
        for value, output in zip(operation.results, end.operands, strict=True):
            names[value] = inside[output]

    def _constant(self, operation: Any, name: str) -> None:
        held, value = operation.attributes["value"], operation.results[0]
        dtype, shape = _type(value.type)
        self.values[name] = (dtype, shape)
        if name in self.constants:  # the composite was invoked before
            return
        resource = re.match(r"dense_resource<([^>]+)>", str(held)[:512])
        if resource is not None:
            self.constants[name] = {"resource": resource[1].strip('"')}
            return
        if math.prod(size or 1 for size in shape or []) > _MAX_INLINE_ELEMENTS:
            raise UnreadableAsset(f"{name} has the absurd shape {shape}")
        try:
            stored = np.ascontiguousarray(np.array(held))
        except Exception as error:  # the bindings raise various errors for types without numbers
            raise UnreadableAsset(f"{name} holds no numbers ({dtype})") from error
        self.constants[name] = {"bytes": base64.b64encode(stored.tobytes()).decode("ascii")}


def load(path: Path) -> Any:
    """Parse a program with Apple's library, which ends the process if the program is damaged."""
    from coreai._compiler._mlir_libs._coreaiIR._bindings.compiler import load_module_from_bytecode
    from coreai.authoring.context import Context

    return load_module_from_bytecode(context=Context()._mlir_context, path=path)


def entry_of(module: Any) -> tuple[Any, dict[str, Any]]:
    """Return the graph that runs, and all graphs by name.

    Raises:
        UnreadableAsset: if there is not exactly one public graph.
    """
    graphs = {each.attributes["sym_name"].value: each for each in module.body.operations}
    public = [each for each in graphs.values() if "priv" not in each.attributes]
    if len(public) != 1:
        raise UnreadableAsset(f"it has {len(public)} entry points, not one")
    return public[0], graphs


def walk(entry: Any, graphs: dict[str, Any]) -> tuple[Walk, list[str], list[str]]:
    """Return the operators that run, and the names of the inputs and of the output values."""
    found = Walk(graphs)
    block = entry.regions[0].blocks[0]
    inputs = port_names(entry, "arg_attrs")
    names: dict[Any, str] = {}
    for name, argument in zip(inputs, block.arguments, strict=True):
        names[argument] = name
        found.values[name] = _type(argument.type)
    end = found.body(block, names, "", "", 0)
    return found, inputs, [names[value] for value in end.operands]


def port_names(entry: Any, attribute: str) -> list[str]:
    """Return the names of the inputs (``arg_attrs``) or of the outputs (``res_attrs``)."""
    return [each["coreai.name"].value for each in entry.attributes[attribute]]


def description(path: Path) -> dict[str, Any]:
    """Return a program as plain data; see `apart.program_of`."""
    from coreai.runtime import _AIModelAsset

    module = load(path)  # kept alive, because it owns its graphs
    entry, graphs = entry_of(module)
    found, inputs, outputs = walk(entry, graphs)
    summary = _AIModelAsset(path.parent).summary(include_statistics=False)
    system = summary._compatibility_version if summary is not None else None
    return {
        "system": int(str(system or "0").partition(".")[0]),
        "inputs": inputs,
        "outputs": list(zip(port_names(entry, "res_attrs"), outputs, strict=True)),
        "operations": found.operations,
        "constants": found.constants,
        "values": found.values,
        "bound": found.bound,
    }


def _word(name: str) -> str:
    """Return an operator's name without its dialect and the broadcasting prefix."""
    return name.removeprefix(_DIALECT).removeprefix(_BROADCASTING)


def _type(type: Any) -> tuple[str, list[int | None] | None]:
    """Return the element type in numpy's spelling and the shape; a token has neither."""
    if not hasattr(type, "element_type") or not getattr(type, "has_rank", False):
        return "undefined", None
    element = str(type.element_type)
    match = re.fullmatch(r"(f|bf|si|ui|i)(\d+)", element)
    words = {"f": "float", "bf": "bfloat", "si": "int", "ui": "uint", "i": "int"}
    dtype = "bool" if element == "i1" else element
    if match is not None and element != "i1":
        dtype = words[match[1]] + match[2]
    sizes = [None if type.is_dynamic_dim(axis) else size for axis, size in enumerate(type.shape)]
    return dtype, sizes


def _attribute(held: Any) -> str | None:
    """Return the value of an enumeration, such as the mode of a pad; None for anything else."""
    match = re.search(r"<(\w+)>$", str(held)[:256])
    return match[1] if match is not None else None


def _check_declaration(name: str, graph: Any) -> None:
    """Check that a composite uses the epsilon that it declares.

    Raises:
        UnreadableAsset: if it does not.
    """
    if "composite_decl" not in graph.attributes:
        return
    stated = _EPSILON.search(str(graph.attributes["composite_decl"]))
    if stated is None:
        return
    numbers = [
        np.array(each.attributes["value"])
        for each in graph.regions[0].blocks[0].operations
        if each.name == "coreai.constant" and "dense_resource" not in str(each.attributes["value"])
    ]
    epsilon = np.float32(float(stated[1]))
    if not any(each.size == 1 and np.float32(each.item()) == epsilon for each in numbers):
        raise UnreadableAsset(f"{name} declares the epsilon {float(stated[1]):g} but uses another")
