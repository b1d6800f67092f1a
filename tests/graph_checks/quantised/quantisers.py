"""The smallest files, quantised as each library does it, and what they are to claim."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from slide_deploy.graph_checks import Graph, Violation, check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.graph_checks.graph import Constant
from tests.graph_checks.small_models import exported_smallest
from tests.shared import once

Quantise = Callable[[Path, Path], None]


@dataclass(frozen=True)
class Quantiser:
    """One way to quantise a file.

    Attributes:
        format: of the file.
        claim: the precision that the result has.
        quantise: reads a file and writes another.
        adds: operators that the network has afterwards and had not before, as smoothing adds.
        needs: the package that does it.
    """

    format: str
    claim: str
    quantise: Quantise
    adds: frozenset[str] = frozenset()
    needs: str = ""


def images() -> list[np.ndarray]:
    """Random images for calibration."""
    random = np.random.default_rng(4)
    return [random.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(3)]


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress the warnings of quantisers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(before)


# ONNX


class Images:
    """Calibration images for ONNX Runtime's quantiser."""

    def __init__(self) -> None:
        self.left = images()

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {"image": self.left.pop()} if self.left else None


def share_constants(path: Path) -> None:
    """Merge constants that a quantiser stored twice, as exporters must after one."""
    import onnx_ir as ir
    from onnx_ir.passes.common import DeduplicateHashedInitializersPass

    model = ir.load(path)
    DeduplicateHashedInitializersPass(size_limit=1 << 31)(model)
    ir.save(model, path)


def static(weights: str = "QInt8", values: str = "QInt8", **options: Any) -> Quantise:
    """ONNX Runtime's QDQ."""

    def quantise(source: Path, target: Path) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        options["weight_type"] = QuantType[weights]
        options["activation_type"] = QuantType[values]
        quantize_static(source, target, Images(), quant_format=QuantFormat.QDQ, **options)
        share_constants(target)

    return quantise


def dynamic(source: Path, target: Path) -> None:
    """ONNX Runtime's integer operators, which measure each value when they run."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, target)
    share_constants(target)


def nncf_onnx(source: Path, target: Path) -> None:
    import nncf

    images_by_name = nncf.Dataset([{"image": each} for each in images()])
    model_type = nncf.ModelType.TRANSFORMER
    onnx.save(nncf.quantize(onnx.load(source), images_by_name, model_type=model_type), target)
    share_constants(target)


# OpenVINO


def in_openvino(change: Callable[[Any], Any]) -> Quantise:
    """A change of a model in OpenVINO's memory; it may give another one."""

    def quantise(source: Path, target: Path) -> None:
        import openvino

        model = openvino.Core().read_model(source)
        openvino.save_model(change(model) or model, target, compress_to_fp16=False)

    return quantise


def nncf_values(model: Any) -> Any:
    import nncf

    return nncf.quantize(model, nncf.Dataset(images()), model_type=nncf.ModelType.TRANSFORMER)


def nncf_weights(mode: str) -> Callable[[Any], Any]:
    def change(model: Any) -> Any:
        import nncf

        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode[mode])

    return change


def compressed(kind: str = "i8", shift: bool = False) -> Callable[[Any], None]:
    """Per-channel weights: Constant, Convert, Subtract if there is a shift, Multiply."""

    def change(model: Any) -> None:
        import openvino
        from openvino import opset13 as ops

        for node in model.get_ordered_ops():
            if node.get_type_name() not in ("MatMul", "Convolution", "GroupConvolution"):
                continue
            weight = node.input_value(1).get_node()
            if weight.get_type_name() != "Constant":
                continue
            floats = weight.get_data()
            axes = tuple(range(1, floats.ndim))
            low = floats.min(axis=axes, keepdims=True).clip(max=0) if shift else 0
            ends = floats.clip(min=0) - low if shift else np.abs(floats)
            spread = ends.max(axis=axes, keepdims=True)
            scale = (spread / (255 if shift else 127)).astype(np.float32)
            zero = np.round(-low / scale).clip(0, 255).astype(np.uint8) if shift else 0
            numbers = np.round(floats / scale) + zero
            held = numbers.clip(0, 255).astype(np.uint8) if shift else numbers.astype(np.int8)
            wide = ops.convert(ops.constant(held, dtype=getattr(openvino.Type, kind)), "f32")
            if shift:
                wide = ops.subtract(wide, ops.convert(ops.constant(zero), "f32"))
            node.input(1).replace_source_output(ops.multiply(wide, ops.constant(scale)).output(0))

    return change


def faked(model: Any) -> None:
    """A FakeQuantize before each matmul with a weight, and per-channel weights."""
    from openvino import opset13 as ops

    ends = [ops.constant(np.float32(end)) for end in (-4, 4)]
    for node in model.get_ordered_ops():
        if node.get_type_name() in ("MatMul", "Convolution"):
            value = ops.fake_quantize(node.input_value(0), *ends, *ends, 256)
            node.input(0).replace_source_output(value.output(0))
    compressed()(model)


# Core ML


def in_coreml(change: Callable[[Any, Any], Any]) -> Quantise:
    def quantise(source: Path, target: Path) -> None:
        import coremltools as ct
        import coremltools.optimize.coreml as optimize

        model = ct.models.MLModel(str(source), skip_model_load=True)
        change(optimize, model).save(str(target))

    return quantise


def linear(least: int = 64, **options: Any) -> Callable[[Any, Any], Any]:
    """Weights of this many numbers and more on a linear scale."""
    return lambda optimize, model: optimize.linear_quantize_weights(
        model,
        optimize.OptimizationConfig(
            optimize.OpLinearQuantizerConfig(weight_threshold=least, **options)
        ),
    )


def palettes(bits: int, least: int = 64) -> Callable[[Any, Any], Any]:
    """Weights of this many numbers and more as palettes."""
    return lambda optimize, model: optimize.palettize_weights(
        model,
        optimize.OptimizationConfig(
            optimize.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=least)
        ),
    )


QUANTISERS = {
    "ort_by_channel": Quantiser("onnx", "int8", static(per_channel=True)),
    "ort_asymmetric": Quantiser("onnx", "int8", static("QUInt8", "QUInt8", per_channel=True)),
    "ort_by_tensor": Quantiser("onnx", "int8", static()),
    "ort_products": Quantiser("onnx", "int8", static(op_types_to_quantize=["MatMul"])),
    "nncf_onnx": Quantiser("onnx", "int8", nncf_onnx, frozenset({"Mul"}), needs="nncf"),
    "ov_by_hand": Quantiser("openvino", "int8", in_openvino(faked)),
    "ov_weights": Quantiser("openvino", "int8-weights", in_openvino(compressed())),
    "ov_shifted": Quantiser("openvino", "int8-weights", in_openvino(compressed("u8", shift=True))),
    "nncf_ov": Quantiser(
        "openvino", "int8", in_openvino(nncf_values), frozenset({"Multiply"}), needs="nncf"
    ),
    "nncf_symmetric": Quantiser(
        "openvino", "int8-weights", in_openvino(nncf_weights("INT8_SYM")), needs="nncf"
    ),
    "nncf_asymmetric": Quantiser(
        "openvino", "int8-weights", in_openvino(nncf_weights("INT8_ASYM")), needs="nncf"
    ),
    "coreml_linear": Quantiser(
        "coreml", "int8-weights", in_coreml(linear(mode="linear_symmetric"))
    ),
    "coreml_shifted": Quantiser("coreml", "int8-weights", in_coreml(linear(mode="linear"))),
    "coreml_palette_8": Quantiser("coreml", "palettes", in_coreml(palettes(8))),
    "coreml_palette_4": Quantiser("coreml", "palettes", in_coreml(palettes(4))),
}
_SUFFIXES = {"onnx": ".onnx", "openvino": ".xml", "coreml": ".mlpackage"}


def quantised(name: str) -> Graph:
    """The smallest file as one library quantises it, with the claim that it should have."""
    quantiser = QUANTISERS[name]
    if quantiser.needs:
        pytest.importorskip(quantiser.needs)

    def write(folder: Path) -> Path:
        target = folder / f"quantised{_SUFFIXES[quantiser.format]}"
        with quietly():
            quantiser.quantise(exported_smallest()[quantiser.format], target)
        return target

    return claiming(read_graph(once(("quantised", name), write)), quantiser.claim)


def in_float(name: str) -> Graph:
    """The file that ``quantised`` begins with."""
    return read_graph(exported_smallest()[QUANTISERS[name].format])


def claiming(graph: Graph, precision: str, **others: str) -> Graph:
    """The graph with another claim, and other entries whose keys begin with ``slide_deploy.``."""
    entries = {f"slide_deploy.{key}": text for key, text in others.items()}
    return replace(graph, metadata={**graph.metadata, PRECISION_KEY: precision, **entries})


def holding(graph: Graph, name: str, numbers: np.ndarray) -> Graph:
    """The graph with other numbers in one of its constants."""
    stored = np.ascontiguousarray(numbers)
    constant = Constant(
        name,
        stored.dtype.name,
        stored.shape,
        stored.nbytes,
        f"changed {name}",
        lambda: stored.reshape(-1).view(np.uint8),
    )
    return replace(graph, constants={**graph.constants, name: constant})


def violations(graph: Graph) -> list[Violation]:
    return list(check_graph(graph, standard_ops()))


def reported(graph: Graph, rule: str) -> list[str]:
    """The messages of one rule."""
    return [found.message for found in violations(graph) if found.rule == rule]
