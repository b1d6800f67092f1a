"""The targets of ONNX Runtime: one an execution provider."""

from benchmarks.targets.onnxruntime import coreml, cpu, cuda, directml, openvino, tensorrt
from benchmarks.targets.onnxruntime.session import target

TARGETS = tuple(
    target(module.PROVIDER) for module in (cpu, cuda, tensorrt, coreml, directml, openvino)
)
