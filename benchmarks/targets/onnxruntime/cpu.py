"""ONNX Runtime's own kernels on the processor."""

from benchmarks.targets.onnxruntime.provider import Provider

# It has no options of its own: threads belong to the session.
PROVIDER = Provider("cpu", "CPUExecutionProvider")
