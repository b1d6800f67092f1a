"""Compressed weights in Core ML: int8, or indices into a palette of 64 values.

Both are made from a float16 package and compute in float16: a runtime expands weights when it
loads a package, or inside a kernel. coremltools computes the scale of each output channel, and the
palette by k-means. Large constants that are added, such as position bias tables, are compressed as
well.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from exporters.coreml_package import save
from exporters.quantisation.families import LEAST_WEIGHT
from exporters.quantisation.int8_constants import addends_of
from exporters.quantisation.plan import QuantisationPlan
from slide_deploy.graph_checks import read_graph

# Bits of an index into a palette. Fewer bits need training with the palette.
BITS = 6


def quantise_weights(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Quantise the weights of a float16 package to 8 bits; it still computes in float16."""
    from coremltools.optimize.coreml import OpLinearQuantizerConfig, linear_quantize_weights

    config = OpLinearQuantizerConfig("linear_symmetric", "int8", weight_threshold=_THRESHOLD)
    _compress(source, target, plan, config, linear_quantize_weights)


def palettise(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Palettise the weights of a float16 package; it still computes in float16."""
    from coremltools.optimize.coreml import OpPalettizerConfig, palettize_weights

    config = OpPalettizerConfig("kmeans", BITS, weight_threshold=_THRESHOLD)
    _compress(source, target, plan, config, palettize_weights)


# coremltools compresses weights with more elements than this.
_THRESHOLD = LEAST_WEIGHT - 1


def _compress(
    source: Path,
    target: Path,
    plan: QuantisationPlan,
    config: Any,
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
    wanted = OptimizationConfig(config, op_name_configs=dict.fromkeys(kept))
    save(compress(model, wanted), target)
