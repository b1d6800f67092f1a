"""Finds the network's layer of each operator in a written file.

Exporters rename operators, so layers are matched by the values of their weights, in any order:
converters may transpose weights.
"""

import hashlib
from collections.abc import Collection

import numpy as np
from torch.export import ExportedProgram

from slide_deploy.graph_checks.graph import Graph
from slide_deploy.program.traced import Traced, layer_path

# Prefix of the wrapper class ``Network``, which users do not see.
_WRAPPER = "module"


def layer_names(
    program: ExportedProgram, graph: Graph, operators: Collection[str]
) -> dict[str, str]:
    """Return the layer of each operator by the name of its node, where it is known.

    Args:
        program: the program that the file was written from.
        graph: graph of the float32 file.
        operators: names of nodes whose second input is a weight.

    Returns:
        Names of layers. Layers that share a weight are joined by commas.
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
    """Return the layers that read each weight, by a hash of its values."""
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
    """Return a hash of values that does not depend on their order."""
    return hashlib.sha256(np.sort(numbers, axis=None).data).digest()
