"""Which layer of a network an operator of a written file belongs to."""

from collections.abc import Mapping

from torch.export import ExportedProgram

from slide_deploy.graph_checks.graph import Graph, Node
from slide_deploy.program.traced import layer_path

# Torch's exporter puts this before the name of an operator of the program, OpenVINO's converter
# puts a slash and the kind of the operator behind it.
_PREFIX = "node_"
# Of operators between a product and the one that has the name of its layer: its bias.
_LONGEST_WALK = 3
# Of ``Network``, which the user does not know.
_WRAPPER = "module"


def layer_names(program: ExportedProgram, graph: Graph) -> dict[str, str]:
    """The layer of each operator for which that is known, by the name of its node.

    Args:
        program: what the file is written from.
        graph: of the file.
    """
    layers = {node.name: _layer(layer_path(node)) for node in program.graph.nodes}
    found = {node.name: _nearest(graph, node, layers) for node in graph.nodes}
    return {name: layer for name, layer in found.items() if layer}


def _layer(path: str) -> str:
    return path.removeprefix(_WRAPPER).removeprefix(".")


def _nearest(graph: Graph, node: Node, layers: Mapping[str, str]) -> str:
    """The layer of an operator, or of the next one that reads it and has the name of a layer's."""
    for _ in range(_LONGEST_WALK):
        name = node.name.partition("/")[0].removeprefix(_PREFIX)
        if layers.get(name):
            return layers[name]
        readers = [reader for output in node.outputs for reader in graph.consumers.get(output, ())]
        if len(readers) != 1:
            break
        (node,) = readers
    return ""
