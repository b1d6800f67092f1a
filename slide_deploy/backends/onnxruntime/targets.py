"""The targets of ONNX Runtime: one an execution provider, and one that proves float16."""

from slide_deploy.backends.onnxruntime import (
    coreml,
    cpu,
    cuda,
    directml,
    openvino,
    rounded,
    tensorrt,
)
from slide_deploy.backends.onnxruntime.session import target

TARGETS = (
    *(target(module.PROVIDER) for module in (cpu, cuda, tensorrt, coreml, directml, openvino)),
    rounded.TARGET,
)
