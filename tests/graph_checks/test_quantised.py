"""A file that a quantiser has changed does not pass as what it was; real ones, all formats."""

import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from slide_deploy.graph_checks import Violation, check_file, check_graph, read_graph, standard_ops
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from tests.graph_checks.quantised.quantisers import linear, palettes
from tests.graph_checks.small_models import Files

CLAIMS = ("float32", "float16", "mixed")


def broken(path: Path, claim: str = "float32") -> list[Violation]:
    """The violations of the precision rule, under any claim."""
    graph = read_graph(path)
    assert graph.metadata[PRECISION_KEY] == "float32", "the quantiser keeps the claim"
    graph = replace(graph, metadata={**graph.metadata, PRECISION_KEY: claim})
    return [found for found in check_graph(graph, standard_ops()) if found.rule == "SD021"]


def told(path: Path, claim: str = "float32") -> str:
    return " ".join(violation.message for violation in broken(path, claim))


# ONNX


class Images:
    """Two random images for calibration."""

    def __init__(self) -> None:
        random = np.random.default_rng(4)
        self.left = [random.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(2)]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return {"image": self.left.pop()} if self.left else None


def dynamic(**options: Any) -> Callable[[Path, Path], None]:
    def quantise(source: Path, target: Path) -> None:
        from onnxruntime.quantization import quantize_dynamic

        quantize_dynamic(source, target, **options)

    return quantise


def static(form: str = "QDQ", weights: str = "QInt8", values: str = "QUInt8", **options: Any):
    def quantise(source: Path, target: Path) -> None:
        from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

        options["quant_format"] = QuantFormat[form]
        options["weight_type"] = QuantType[weights]
        options["activation_type"] = QuantType[values]
        quantize_static(source, target, Images(), **options)

    return quantise


def four_bits(source: Path, target: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(onnx.load(source), block_size=16, is_symmetric=True)
    quantiser.process()
    onnx.save(quantiser.model.model, target)


def optimised(quantise: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    """What ONNX Runtime makes of a quantised file before it runs it."""

    def both(source: Path, target: Path) -> None:
        import onnxruntime

        between = target.with_name("between.onnx")
        quantise(source, between)
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(target)
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        onnxruntime.InferenceSession(between, options, providers=["CPUExecutionProvider"])

    return both


ONNX: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "dynamic": (dynamic(), "MatMulInteger"),
    "dynamic_by_channel": (dynamic(per_channel=True), "ConvInteger"),
    "dynamic_optimised": (optimised(dynamic()), "DynamicQuantizeMatMul"),
    "static": (static(), "DequantizeLinear"),
    "static_by_channel": (static(per_channel=True), "DequantizeLinear"),
    "static_operators": (static("QOperator"), "QLinearAdd"),
    "static_optimised": (optimised(static()), "QLinear"),
    "sixteen_bits": (static(weights="QInt16", values="QUInt16"), "int16 are stored as weights"),
    "four_bits_each": (static(weights="QInt4"), "int4 are stored as weights"),
    "four_bits_in_blocks": (four_bits, "MatMulNBits"),
}


@pytest.mark.parametrize("name", ONNX)
def test_files_of_onnx_runtimes_quantisers_are_found(
    smallest: Files, tmp_path: Path, name: str
) -> None:
    quantise, trace = ONNX[name]
    target = tmp_path / "quantised.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantise(smallest["onnx"], target)
    for claim in CLAIMS:
        assert trace in told(target, claim), claim
    assert len(broken(target)) <= 3, "each kind of trace is told once"


def test_a_file_that_was_only_optimised_keeps_its_precision(
    smallest: Files, tmp_path: Path
) -> None:
    target = tmp_path / "optimised.onnx"
    optimised(lambda source, between: between.write_bytes(source.read_bytes()))(
        smallest["onnx"], target
    )
    assert broken(target) == []


def test_a_converter_to_float16_is_found(smallest: Files, tmp_path: Path) -> None:
    from onnxruntime.transformers.float16 import convert_float_to_float16

    target = tmp_path / "half.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        half = convert_float_to_float16(onnx.load(smallest["onnx"]), keep_io_types=True)
    onnx.save(half, target)
    assert "weights have 16 bits" in told(target)


def saved(folder: Path, nodes: list[Any], constants: dict[str, np.ndarray], dtype: int) -> Path:
    """A file of one input (1, 3, 4, 4), some nodes and one output, claimed to be float32."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", dtype, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])
    helper.set_model_props(model, {PRECISION_KEY: "float32"})
    path = folder / "small.onnx"
    onnx.save(model, path)
    return path


def test_byte_images_and_indices_are_not_weights(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("Cast", ["turned"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "places"], ["picked"], axis=1),
        helper.make_node("Reshape", ["picked", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["product"]),
        helper.make_node("OneHot", ["few", "depth", "ends"], ["hot"]),
        helper.make_node("Add", ["product", "hot"], ["sum"]),
        helper.make_node("Greater", ["sum", "zero"], ["mask"]),
        helper.make_node("Cast", ["mask"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["sum"], ["best"], axis=1),
        helper.make_node("Cast", ["best"], ["small"], to=TensorProto.UINT8),
        helper.make_node("Cast", ["small"], ["label"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["ones", "label"], ["out"]),
    ]
    constants = {
        "places": np.array([2, 0], np.int64),
        "shape": np.array([-1, 3], np.int64),
        "weight": np.ones((3, 5), np.float32),
        "few": np.array([1, 4, 0, 2, 3, 1, 1, 2], np.uint8),
        "depth": np.array(5, np.int64),
        "ends": np.array([0, 1], np.float32),
        "zero": np.array(0, np.float32),
    }
    assert broken(saved(tmp_path, nodes, constants, TensorProto.UINT8)) == []


def test_weights_that_are_cast_and_scaled_by_hand_are_found(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["weight"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "offset"], ["shifted"]),
        helper.make_node("Mul", ["shifted", "scale"], ["wide"]),
        helper.make_node("Transpose", ["wide"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["image", "turned"], ["out"]),
    ]
    for dtype in (np.int8, np.uint8, np.int16):
        constants = {
            "weight": np.ones((5, 4), dtype),
            "offset": np.array(3, np.float32),
            "scale": np.full((5, 1), 0.1, np.float32),
        }
        path = saved(tmp_path, nodes, constants, TensorProto.FLOAT)
        (violation,) = broken(path)
        assert violation.message.startswith(f"1 {np.dtype(dtype).name} are stored as weights")
        assert violation.node == "weight"


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "int4", "int2"])
def test_weights_of_less_than_a_byte_and_small_floats_are_found(tmp_path: Path, dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale"], ["wide"]),
        helper.make_node("MatMul", ["image", "wide"], ["out"]),
    ]
    constants = {
        "weight": np.ones((4, 4), getattr(ml_dtypes, dtype)),
        "scale": np.array(0.1, np.float32),
    }
    path = saved(tmp_path, nodes, constants, TensorProto.FLOAT)
    first, second = broken(path)
    assert "DequantizeLinear" in first.message
    assert "1 " + dtype.replace("_", "").removesuffix("fn") in second.message


def test_values_that_are_rounded_by_casts_are_found(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["image", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["narrow"], to=TensorProto.INT8),
        helper.make_node("Cast", ["narrow"], ["out"], to=TensorProto.FLOAT),
    ]
    constants = {"scale": np.array(40, np.float32)}
    (violation,) = broken(saved(tmp_path, nodes, constants, TensorProto.FLOAT))
    assert violation.message.startswith("1 Cast read numbers cast to integers")


# OpenVINO IR, as its own compression and NNCF write it


def compressed(element: str, shift: bool) -> Callable[[Any], None]:
    """Weights of products as small numbers, converted, shifted and scaled."""

    def change(model: Any) -> None:
        import openvino
        from openvino import opset13 as ops

        for node in model.get_ordered_ops():
            if node.get_type_name() != "MatMul":
                continue
            weight = node.input_value(1).get_node()
            if weight.get_type_name() != "Constant":
                continue
            numbers = np.clip(np.rint(weight.get_data() * 20), 0, 3).astype(np.uint8)
            kind = getattr(openvino.Type, element)
            if kind.is_real():
                small = ops.constant(numbers.astype(np.float32), dtype=kind)
            else:
                small = ops.constant(numbers, dtype=kind)
            wide = ops.convert(small, "f32")
            if shift:
                zero = ops.convert(ops.constant(np.uint8(1), dtype=kind), "f32")
                wide = ops.subtract(wide, zero)
            node.input(1).replace_source_output(
                ops.multiply(wide, ops.constant(np.float32(0.05))).output(0)
            )

    return change


def faked(model: Any) -> None:
    """A FakeQuantize before each product, as for a network that was calibrated."""
    from openvino import opset13 as ops

    ends = [ops.constant(np.float32(end)) for end in (-2, 2)]
    for node in model.get_ordered_ops():
        if node.get_type_name() == "MatMul":
            value = ops.fake_quantize(node.input_value(0), *ends, *ends, 256)
            node.input(0).replace_source_output(value.output(0))


OPENVINO: dict[str, tuple[Callable[[Any], None], str]] = {
    "int8": (compressed("i8", shift=False), "int8 are stored as weights"),
    "uint8": (compressed("u8", shift=True), "uint8 are stored as weights"),
    "int4": (compressed("i4", shift=False), "int4 are stored as weights"),
    "uint4": (compressed("u4", shift=True), "uint4 are stored as weights"),
    "uint2": (compressed("u2", shift=False), "uint2 are stored as weights"),
    "nf4": (compressed("nf4", shift=False), "nfloat4 are among its numbers"),
    "float8": (compressed("f8e4m3", shift=False), "float8e4m3fn are among its numbers"),
    "float4": (compressed("f4e2m1", shift=False), "float4e2m1 are among its numbers"),
    "fake": (faked, "FakeQuantize compute in low precision"),
}


@pytest.mark.parametrize("name", OPENVINO)
def test_quantised_ir_is_found(smallest: Files, tmp_path: Path, name: str) -> None:
    import openvino

    change, trace = OPENVINO[name]
    model = openvino.Core().read_model(smallest["openvino"])
    change(model)
    target = tmp_path / "quantised.xml"
    openvino.save_model(model, target, compress_to_fp16=False)
    for claim in CLAIMS:
        assert trace in told(target, claim), claim


def test_an_ir_file_that_takes_bytes_keeps_its_precision(smallest: Files, tmp_path: Path) -> None:
    import openvino
    from openvino.preprocess import PrePostProcessor

    model = openvino.Core().read_model(smallest["openvino"])
    steps = PrePostProcessor(model)
    steps.input().tensor().set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
    steps.input().model().set_layout(openvino.Layout("NCHW"))
    steps.input().preprocess().convert_element_type(openvino.Type.f32).scale(255.0)
    target = tmp_path / "bytes.xml"
    openvino.save_model(steps.build(), target, compress_to_fp16=False)
    assert broken(target) == []


# Core ML


COREML: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "int8": (linear(0, mode="linear_symmetric"), "constexpr_affine_dequantize"),
    "uint8": (linear(0, mode="linear", dtype="uint8"), "constexpr_affine_dequantize"),
    "palette_8": (palettes(8, least=0), "constexpr_lut_to_dense"),
    "palette_2": (palettes(2, least=0), "constexpr_lut_to_dense"),
}


@pytest.fixture(scope="module")
def loaded(smallest: Files) -> Any:
    import coremltools as ct

    logging.getLogger("coremltools").setLevel(logging.ERROR)
    return ct.models.MLModel(str(smallest["coreml"]), skip_model_load=True)


@pytest.mark.parametrize("name", COREML)
def test_compressed_packages_are_found(loaded: Any, tmp_path: Path, name: str) -> None:
    import coremltools.optimize.coreml as optimize

    change, trace = COREML[name]
    target = tmp_path / "compressed.mlpackage"
    change(optimize, loaded).save(str(target))
    for claim in CLAIMS:
        assert trace in told(target, claim), claim


def test_a_pruned_package_keeps_its_precision(loaded: Any, tmp_path: Path) -> None:
    import coremltools.optimize.coreml as optimize

    config = optimize.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=0)
    target = tmp_path / "pruned.mlpackage"
    optimize.prune_weights(loaded, optimize.OptimizationConfig(config)).save(str(target))
    assert any(node.operator == "constexpr_sparse_to_dense" for node in read_graph(target).nodes)
    assert broken(target) == []


# All formats


@pytest.mark.parametrize("format", ["onnx", "openvino", "coreml"])
def test_files_as_they_were_exported_pass(smallest: Files, format: str) -> None:
    assert broken(smallest[format]) == []


def test_a_file_that_claims_nothing_may_be_quantised(smallest: Files, tmp_path: Path) -> None:
    model = onnx.load(smallest["onnx"])
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "silent.onnx")
    dynamic()(tmp_path / "silent.onnx", tmp_path / "quantised.onnx")
    found = check_file(tmp_path / "quantised.onnx").violations
    assert not [violation for violation in found if violation.rule == "SD021"]
