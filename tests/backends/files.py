"""Small files of every kind: (batch, 4) in, (batch, 3) out."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Session, Stream
from slide_deploy.backends.inputs import random_arrays
from slide_deploy.saved.pte.companion import METHOD, companion_text

WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)


def onnx_file(folder: Path, batch: int | None) -> Path:
    """A matrix product and a ReLU; ``batch`` None leaves it open."""
    import onnx
    from onnx import TensorProto, helper

    size = "batch" if batch is None else batch
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "weights"], ["product"], name="product"),
            helper.make_node("Relu", ["product"], ["y"], name="relu"),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, 3])],
        [onnx.numpy_helper.from_array(WEIGHTS, "weights")],
    )
    path = folder / "small.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def onnx_file_of_types(folder: Path) -> Path:
    """Inputs of several types and ranks: images, indices, a switch and a number."""
    import onnx
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("image", TensorProto.FLOAT16, ["batch", 3, "height", 8]),
        helper.make_tensor_value_info("index", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("table", TensorProto.FLOAT, [2, 5]),
        helper.make_tensor_value_info("on", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(
        [
            helper.make_node("Relu", ["image"], ["positive"]),
            helper.make_node("Gather", ["table", "index"], ["rows"], axis=0),
            helper.make_node("Not", ["on"], ["off"]),
        ],
        "types",
        inputs,
        [
            helper.make_tensor_value_info("positive", TensorProto.FLOAT16, None),
            helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 5]),
            helper.make_tensor_value_info("off", TensorProto.BOOL, []),
        ],
    )
    path = folder / "types.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), path)
    return path


def openvino_file(folder: Path, batch: int | None) -> Path:
    """The same as OpenVINO IR."""
    import openvino

    path = folder / "small.xml"
    model = openvino.Core().read_model(onnx_file(folder, batch))
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def coreml_file(folder: Path, batch: int | None) -> Path:
    """The same as a Core ML package."""
    import coremltools
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol

    shape = (coremltools.RangeDim(1, 64) if batch is None else batch, 4)
    declared = (get_new_symbol() if batch is None else batch, 4)

    @mb.program(input_specs=[mb.TensorSpec(declared)], opset_version=coremltools.target.iOS16)
    def program(x):
        return mb.relu(x=mb.matmul(x=x, y=WEIGHTS), name="y")

    model = coremltools.convert(
        program,
        inputs=[coremltools.TensorType("x", shape)],
        compute_precision=coremltools.precision.FLOAT32,
        convert_to="mlprogram",
        minimum_deployment_target=coremltools.target.iOS16,
        skip_model_load=True,
    )
    path = folder / "small.mlpackage"
    model.save(str(path))
    return path


def torch_file(folder: Path, batch: int | None, most: int = 64) -> Path:
    """The same as a program of ``torch.export``; ``most`` is the largest open batch."""
    import torch

    linear = torch.nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(WEIGHTS.T.copy()))
    open_batch = {0: torch.export.Dim("batch", min=1, max=most)}
    program = torch.export.export(
        torch.nn.Sequential(linear, torch.nn.ReLU()).eval(),
        (torch.ones(batch or 2, 4),),
        dynamic_shapes=(open_batch,) if batch is None else None,
    )
    path = folder / "small.pt2"
    torch.export.save(program, path)
    return path


def litert_file(folder: Path, batch: int | None) -> Path:
    """The same for LiteRT, which has it as one operator."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    held = schema.BufferT()
    held.data = np.frombuffer(WEIGHTS.T.tobytes(), np.uint8)
    tensors = []
    for name, shape in (("x", (batch, 4)), ("weights", (3, 4)), ("y", (batch, 3))):
        tensor = schema.TensorT()
        tensor.name, tensor.buffer = name, int(name == "weights")
        tensor.shape = np.array([size or 1 for size in shape], np.int32)
        tensor.shapeSignature = np.array([size or -1 for size in shape], np.int32)
        tensors.append(tensor)
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = np.array([0, 1, -1], np.int32), np.array([2], np.int32)
    operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    operator.builtinOptions = schema.FullyConnectedOptionsT()
    operator.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = tensors, [operator]
    graph.inputs, graph.outputs = np.array([0], np.int32), np.array([2], np.int32)
    model = schema.ModelT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT(), held]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = folder / "small.tflite"
    path.write_bytes(builder.Output())
    return path


def executorch_file(folder: Path, batch: int | None) -> Path:
    """The same for ExecuTorch, on its own kernels alone, so that every target runs it."""
    import torch
    from executorch.exir import EdgeCompileConfig, to_edge_transform_and_lower

    program = torch.export.load(torch_file(folder, batch, most=8))
    (folder / "small.pt2").unlink()
    edge = to_edge_transform_and_lower(
        program,
        constant_methods={METHOD: companion_text(["x"], ["y"], {})},
        compile_config=EdgeCompileConfig(_check_ir_validity=False),
    )
    path = folder / "small.pte"
    path.write_bytes(edge.to_executorch().buffer)
    return path


_MAKERS = {
    "litert": litert_file,
    "onnxruntime": onnx_file,
    "openvino": openvino_file,
    "coreml": coreml_file,
    "executorch": executorch_file,
    "torch": torch_file,
}


# Libraries that an environment of their own has.
_DEVICES = {"litert": "ai_edge_litert", "executorch": "executorch"}


def write_all(folder: Path) -> Path:
    """All that can be written here, with a batch of 1, of 2 and an open one, one folder each."""
    for runtime, make in _MAKERS.items():
        if runtime in _DEVICES and find_spec(_DEVICES[runtime]) is None:
            continue
        for batch in (1, 2, None):
            inner = folder / f"{runtime}-{batch}"
            inner.mkdir()
            make(inner, batch)
    return folder


def copied(written: Path, runtime: str, batch: int | None, folder: Path) -> Path:
    """A copy of one that `write_all` wrote."""
    runtime = {"mil-interpreter": "coreml"}.get(runtime, runtime)
    shutil.copytree(written / f"{runtime}-{batch}", folder, dirs_exist_ok=True)
    suffix = {
        **{"onnxruntime": ".onnx", "openvino": ".xml", "coreml": ".mlpackage"},
        **{"executorch": ".pte", "litert": ".tflite", "torch": ".pt2"},
    }
    return folder / f"small{suffix[runtime]}"


def bound(session: Session) -> Stream:
    """A stream with random inputs."""
    stream = session.new_stream()
    stream.bind(random_arrays(session.inputs))
    return stream
