"""Small files of every kind: (batch, 4) in, (batch, 3) out."""

import shutil
from pathlib import Path

import numpy as np

from slide_deploy.backends.base import Session, Stream
from slide_deploy.backends.inputs import random_arrays

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


def torch_file(folder: Path, batch: int | None) -> Path:
    """The same as a program of ``torch.export``."""
    import torch

    linear = torch.nn.Linear(4, 3, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(WEIGHTS.T.copy()))
    open_batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(
        torch.nn.Sequential(linear, torch.nn.ReLU()).eval(),
        (torch.ones(batch or 2, 4),),
        dynamic_shapes=(open_batch,) if batch is None else None,
    )
    path = folder / "small.pt2"
    torch.export.save(program, path)
    return path


_MAKERS = {
    "onnxruntime": onnx_file,
    "openvino": openvino_file,
    "coreml": coreml_file,
    "torch": torch_file,
}


def write_all(folder: Path) -> Path:
    """All of them, with a batch of 1, of 2 and an open one, one folder each."""
    for runtime, make in _MAKERS.items():
        for batch in (1, 2, None):
            inner = folder / f"{runtime}-{batch}"
            inner.mkdir()
            make(inner, batch)
    return folder


def copied(written: Path, runtime: str, batch: int | None, folder: Path) -> Path:
    """A copy of one that `write_all` wrote."""
    runtime = {"mil-interpreter": "coreml"}.get(runtime, runtime)
    shutil.copytree(written / f"{runtime}-{batch}", folder, dirs_exist_ok=True)
    suffix = {"onnxruntime": ".onnx", "openvino": ".xml", "coreml": ".mlpackage", "torch": ".pt2"}
    return folder / f"small{suffix[runtime]}"


def bound(session: Session) -> Stream:
    """A stream with random inputs."""
    stream = session.new_stream()
    stream.bind(random_arrays(session.inputs))
    return stream


def damaged(path: Path) -> Path:
    """The file, or the package, with everything in it replaced."""
    if path.is_dir():
        for inner in path.rglob("*"):
            if inner.is_file():
                inner.write_bytes(b"damaged")
    else:
        path.write_bytes(b"damaged")
    return path
