"""ONNX Runtime's own kernels on the processor."""

from slide_deploy.backends.onnxruntime.provider import Provider

# It has no options of its own: threads belong to the session.
PROVIDER = Provider("cpu", "CPUExecutionProvider")
