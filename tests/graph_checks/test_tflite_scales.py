"""Scales and zero points of LiteRT files: read, expanded, and held to what a quantiser measures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")
pytest.importorskip("ai_edge_quantizer")

from slide_deploy.graph_checks import read_graph, standard_ops
from slide_deploy.graph_checks.rules.scales import RULE
from slide_deploy.graph_checks.stored_weights import stored_weights
from tests.graph_checks.small_models import exported_litert
from tests.mutants.litert_damage import graph, in_model


@pytest.fixture(scope="module")
def eight_bits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose weights another tool rounded to 8 bits, widened by operators of their own."""
    from ai_edge_quantizer import qtyping, quantizer

    maker = quantizer.Quantizer(bytearray(exported_litert().read_bytes()))
    maker.update_quantization_recipe(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(
                num_bits=8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE
            ),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
    )
    path = tmp_path_factory.mktemp("scales") / "eight.tflite"
    path.write_bytes(bytes(maker.quantize().quantized_model))
    return path


def scaled_tensors(model: Any) -> list[Any]:
    return [
        each
        for each in graph(model).tensors
        if each.quantization is not None and each.quantization.scale is not None
    ]


def test_weights_are_what_their_scales_say(eight_bits: Path) -> None:
    exact = read_graph(exported_litert()).constants
    weights = [each for each in stored_weights(read_graph(eight_bits)).values() if each.scales]
    assert len(weights) > 3 and any(weight.scales[0].elements > 1 for weight in weights)
    compared = 0
    for weight in weights:
        floats, step = weight.expand(), float(weight.scales[0].array().max())
        same = [
            held
            for name, constant in exact.items()
            if name in weight.data.name and (held := constant.array()) is not None
            if held.shape == floats.shape
        ]
        if same:
            compared += 1
            assert min(np.abs(floats - held).max() for held in same) <= 0.51 * step
    assert compared > 2


def test_right_scales_keep_the_rule_and_wrong_ones_break_it(eight_bits: Path) -> None:
    assert list(RULE.check(read_graph(eight_bits), standard_ops())) == []

    def zero(model: Any) -> None:
        tensor = scaled_tensors(model)[0]
        tensor.quantization.scale = np.zeros_like(tensor.quantization.scale)

    in_model(zero)(eight_bits)
    (broken, *_) = RULE.check(read_graph(eight_bits), standard_ops())
    assert "scales are not all finite" in broken.message
