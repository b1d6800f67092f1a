"""The targets of ONNX Runtime: one an execution provider."""

from slide_deploy.backends.onnxruntime import coreml, cpu, cuda, directml, openvino, tensorrt
from slide_deploy.backends.onnxruntime.session import target

TARGETS = tuple(
    target(module.PROVIDER) for module in (cpu, cuda, tensorrt, coreml, directml, openvino)
)
