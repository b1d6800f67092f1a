"""ONNX Runtime on any GPU with DirectX 12, on Windows."""

from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.onnxruntime.provider import Provider


def options(configuration: Configuration) -> dict[str, str]:
    """Options of the provider."""
    return {"device_id": "0"}


PROVIDER = Provider(
    "directml",
    "DmlExecutionProvider",
    package="onnxruntime-directml",
    options=options,
    option_names=(
        *("device_filter", "device_id", "disable_metacommands", "enable_graph_capture"),
        "performance_preference",
    ),
    device="dml",
    platforms=("win32",),
    # Its documentation rules both out: memory patterns, and calls of one session at a time.
    memory_pattern=False,
    concurrent=False,
    profiled=False,  # launched, not awaited
)
