"""Small weights in Core ML: whole numbers of 8 bits, or places in tables of 64 numbers.

Both are made of a package of float16, in which they compute: a runtime turns weights into float16
when it loads a package, or while it multiplies. coremltools finds the scale of each output channel,
and the numbers of each table by k-means. Large constants that are added, as tables of position
biases are, become small in the same way.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporters.coreml_package import save
from exporters.quantisation.families import LEAST_WEIGHT
from exporters.quantisation.plan import QuantisationPlan
from exporters.quantisation.small_constants import addends_of
from slide_deploy.graph_checks import read_graph

# Of a place in a table. Fewer are for networks that were trained with them.
BITS = 6


def quantise_weights(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a package whose weights have 8 bits; it computes in float16.

    Args:
        source: the package in float16.
        target: the package to write.
        plan: whose operators keep their weights as they are, ``others``.
    """
    from coremltools.optimize.coreml import OpLinearQuantizerConfig, linear_quantize_weights

    def config() -> Any:
        return OpLinearQuantizerConfig("linear_symmetric", "int8", weight_threshold=_THRESHOLD)

    _compress(source, target, plan, config, linear_quantize_weights)


def palettise(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a package whose weights are places in tables; it computes in float16.

    Args:
        source: the package in float16.
        target: the package to write.
        plan: whose operators keep their weights as they are, ``others``.
    """
    from coremltools.optimize.coreml import OpPalettizerConfig, palettize_weights

    def config() -> Any:
        return OpPalettizerConfig("kmeans", BITS, weight_threshold=_THRESHOLD)

    _compress(source, target, plan, config, palettize_weights)


# The library compresses what has more numbers than this.
_THRESHOLD = LEAST_WEIGHT - 1


def _compress(
    source: Path,
    target: Path,
    plan: QuantisationPlan,
    config: Callable[[], Any],
    compress: Callable[[Any, Any], Any],
) -> None:
    import coremltools
    from coremltools.optimize.coreml import OptimizationConfig

    graph = read_graph(source)
    kept = {
        name
        for node in graph.nodes
        if node.name in plan.others
        for name in node.inputs
        if name in graph.constants
    } - set(addends_of(graph))
    model = coremltools.models.MLModel(str(source), skip_model_load=True)
    wanted = OptimizationConfig(config(), op_name_configs=dict.fromkeys(kept))
    save(compress(model, wanted), target)
