"""Eight bits in OpenVINO: products as integers by NNCF, or weights alone.

In int8, FakeQuantize stands in front of the operators that gain, and their weights are stored as
int8. Other constants that are stored so go through Convert and Multiply, which the runtime computes
when it compiles the file.
"""

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporters.openvino_model import save
from exporters.quantisation.plan import QuantisationPlan
from exporters.quantisation.small_constants import addends_of, small, weights_of
from slide_deploy.errors import MissingExtra
from slide_deploy.graph_checks import read_graph
from slide_deploy.graph_checks.declarations import FLOAT_OPERATORS_KEY
from slide_deploy.graph_checks.weight_widths import float_operators


def quantise(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a file whose weights and activations have 8 bits.

    Args:
        source: the file in float32.
        target: the file to write.
        plan: what to quantise.

    Raises:
        MissingExtra: without NNCF.
    """
    import openvino

    try:
        import nncf
    except ImportError as error:
        raise MissingExtra("nncf", "int8") from error
    nncf.set_log_level(logging.ERROR)
    model = openvino.Core().read_model(source)
    tables = addends_of(read_graph(source))
    quantised = nncf.quantize(
        model,
        nncf.Dataset(plan.examples),
        subset_size=len(plan.examples),
        # Pairs of products fit into 16 bits, to which processors without VNNI add them.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
        # Operators that the library never quantises need not be known to it.
        ignored_scope=nncf.IgnoredScope(names=list(plan.others), validate=False),
    )
    _store(quantised, dict.fromkeys(tables))
    _save(quantised, target)


def quantise_weights(source: Path, target: Path, plan: QuantisationPlan) -> None:
    """Write a file whose weights have 8 bits; it computes in float32.

    Args:
        source: the file in float32.
        target: the file to write.
        plan: whose operators keep their weights as they are, ``others``.
    """
    import openvino

    model, graph = openvino.Core().read_model(source), read_graph(source)
    kept = {name for node in graph.nodes if node.name in plan.others for name in node.inputs}
    stored = {name: axis for name, axis in weights_of(graph).items() if name not in kept}
    _store(model, stored | dict.fromkeys(addends_of(graph)))
    _save(model, target)


def _save(model: Any, target: Path) -> None:
    """Write a file that names the operators whose weights are floats."""
    with tempfile.TemporaryDirectory(dir=target.parent, ignore_cleanup_errors=True) as folder:
        draft = Path(folder) / target.name
        save(model, draft)
        kept = json.dumps(float_operators(read_graph(draft)))
    model.set_rt_info(kept, FLOAT_OPERATORS_KEY.split("."))
    save(model, target)


def _store(model: Any, stored: Mapping[str, int | None]) -> None:
    """Put constants into int8; what reads one reads a product in its place.

    Args:
        model: of OpenVINO; it is changed.
        stored: names of constants, each with the axis of its scales.
    """
    from openvino import Type, opset13

    constants = {
        each.get_friendly_name(): each
        for each in model.get_ordered_ops()
        if each.get_type_name() == "Constant"
    }
    for name, axis in stored.items():
        found = small(constants[name].get_data(), axis)
        cast = opset13.convert(opset13.constant(found.values), Type.f32)
        scaled = opset13.multiply(cast, opset13.constant(found.scale))
        scaled.set_friendly_name(name)
        for reader in list(constants[name].output(0).get_target_inputs()):
            reader.replace_source_output(scaled.output(0))
