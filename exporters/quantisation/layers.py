"""Which layer of a network an operator of a written file belongs to.

Exporters give operators names of their own, so that the numbers of a weight tell, in whatever order
a converter stores them.
"""

import hashlib
from collections.abc import Collection

import numpy as np
from torch.export import ExportedProgram

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.program.traced import Traced, layer_path

# Of ``Network``, which the user does not know.
_WRAPPER = "module"


def layer_names(
    program: ExportedProgram, graph: Graph, operators: Collection[str]
) -> dict[str, str]:
    """The layer of each operator for which that is known, as its weights are called.

    Args:
        program: what the file is written from.
        graph: of the file, in float32.
        operators: names of nodes whose second input is a weight.

    Returns:
        By the name of the node. Layers that share a weight are named one after the other.
    """
    layers = _layers(program)
    found: dict[str, str] = {}
    for node in graph.nodes:
        if node.name in operators and node.inputs[1] in graph.constants:
            array = graph.constants[node.inputs[1]].array()
            if array is not None and _key(array) in layers:
                found[node.name] = ", ".join(layers[_key(array)])
    return found


def _layers(program: ExportedProgram) -> dict[bytes, tuple[str, ...]]:
    """The layers that read each weight, by its numbers."""
    traced = Traced(program)
    found: dict[bytes, dict[str, None]] = {}
    for node in program.graph.nodes:
        weight = traced.weight(node) if node.op in ("placeholder", "get_attr") else None
        if weight is None or weight.dim() < 2 or not weight.is_floating_point():
            continue
        paths = (layer_path(user).removeprefix(_WRAPPER).removeprefix(".") for user in node.users)
        key = _key(weight.detach().cpu().float().numpy())
        found.setdefault(key, {}).update(dict.fromkeys(filter(None, paths)))
    return {key: tuple(paths) for key, paths in found.items() if paths}


def _key(numbers: np.ndarray) -> bytes:
    """The same for the same numbers in any order."""
    return hashlib.sha256(np.sort(numbers, axis=None).data).digest()
