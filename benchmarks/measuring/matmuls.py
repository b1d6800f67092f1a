"""Matmuls of the installed libraries.

Which library is fastest depends on the processor. 10^9 float32 multiply-accumulates per second for
two 512 x 512 matrices, one thread, EPYC with AVX-512:

    numpy 2.4, OpenBLAS 0.3.31    118, or 62 with OPENBLAS_CORETYPE=Haswell
    torch 2.13, MKL                53, as MKL takes a slow path on processors of other makers
    torch 2.13, oneDNN            119
    ONNX Runtime 1.32             122
    OpenVINO 2026.4               122

So `limits` tries all of them. Runtimes get the right matrix as a constant, like weights. Each
matmul runs in the thread that calls it.
"""

from collections.abc import Callable
from typing import Any

Work = Callable[[], None]
# Takes the side of the matrices. Called once for each thread.
Maker = Callable[[int], Work]


def with_numpy(side: int) -> Work:
    """Multiply with the BLAS library that numpy is linked to."""
    import numpy

    left, right = _matrices(side)
    result = numpy.empty_like(left)

    def multiply() -> None:
        numpy.matmul(left, right, out=result)

    return multiply


def with_torch(side: int) -> Work:
    """Multiply with oneDNN, which torch uses for convolutions, or without it if it is missing."""
    import torch

    torch.set_num_threads(1)
    left, right = map(torch.from_numpy, _matrices(side))
    if not torch.backends.mkldnn.is_available():
        result = torch.empty_like(left)

        def multiply_plainly() -> None:
            torch.mm(left, right, out=result)

        return multiply_plainly
    from torch.utils.mkldnn import to_mkldnn

    linear = torch.nn.Linear(side, side, bias=False)
    linear.weight.data.copy_(right)
    packed, images = to_mkldnn(linear.eval(), torch.float32), left.to_mkldnn()

    def multiply() -> None:
        with torch.inference_mode():
            packed(images)

    return multiply


def with_onnxruntime(side: int) -> Work:
    """Multiply with the CPU provider of ONNX Runtime."""
    import onnxruntime

    left, right = _matrices(side)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_matmul(right), options, providers=["CPUExecutionProvider"]
    )

    def multiply() -> None:
        session.run(None, {"x": left})

    return multiply


def with_openvino(side: int) -> Work:
    """Multiply with the CPU plugin of OpenVINO."""
    import numpy
    import openvino
    from openvino import opset13

    left, right = _matrices(side)
    image = opset13.parameter([side, side], numpy.float32)
    product = opset13.matmul(image, opset13.constant(right), False, False)
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "ENABLE_CPU_PINNING": False,  # with pinning, the models of all threads share one core
    }
    network = openvino.Model([product], [image])
    request = openvino.Core().compile_model(network, "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(left))

    def multiply() -> None:
        request.infer(share_outputs=True)

    return multiply


MAKERS: dict[str, Maker] = {
    "numpy": with_numpy,
    "ONNX Runtime": with_onnxruntime,
    "OpenVINO": with_openvino,
    "torch": with_torch,
}


def onnx_matmul(right: Any) -> bytes:
    """Encode the ONNX model y = x @ right without the onnx package, which devices lack.

    The numbers are the field numbers in onnx.proto.

    Args:
        right: Square float32 matrix, a numpy array.
    """
    side, float32 = len(right), 1
    dimension = _field(1, _field(1, side))  # TensorShapeProto.dim, Dimension.dim_value
    tensor_type = _field(1, float32) + _field(2, dimension + dimension)
    value_type = _field(2, _field(1, tensor_type))  # ValueInfoProto.type, TypeProto.tensor_type
    node = _field(1, b"x") + _field(1, b"w") + _field(2, b"y") + _field(4, b"MatMul")
    sizes = _field(1, side) + _field(1, side)
    weight = sizes + _field(2, float32) + _field(8, b"w") + _field(9, right.tobytes())
    graph = (
        _field(1, node)
        + _field(2, b"product")
        + _field(5, weight)
        + _field(11, _field(1, b"x") + value_type)
        + _field(12, _field(1, b"y") + value_type)
    )
    ir_version, opset = _field(1, 8), _field(8, _field(2, 13))
    return ir_version + opset + _field(7, graph)


def _field(number: int, content: int | bytes) -> bytes:
    """Encode a protobuf field: a varint, or bytes after their length."""
    if isinstance(content, int):
        return _varint(number << 3) + _varint(content)
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Encode a varint: seven bits per byte, lowest first. The top bit means that more follow."""
    head, rest = value & 0x7F, value >> 7
    return bytes([head | 0x80]) + _varint(rest) if rest else bytes([head])


def _matrices(side: int) -> tuple[Any, Any]:
    """Return two random matrices. With zeros, a processor draws less power and runs faster."""
    import numpy

    numbers = numpy.random.default_rng(side)
    left, right = (numbers.standard_normal((side, side), dtype=numpy.float32) for _ in range(2))
    return left, right
