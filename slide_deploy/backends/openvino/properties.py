"""Properties of OpenVINO that a configuration sets, by its own names. Imports nothing of it."""

from collections.abc import Iterable

from slide_deploy.backends.base import Configuration

# As OpenVINO abbreviates them.
SHORT_NAMES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

# What each device computes in. The NPU knows float16 and integers only.
PRECISIONS = {
    "CPU": ("float32", "float16", "bfloat16", "default"),
    "GPU": ("float32", "float16", "default"),
    "NPU": ("float16", "default"),
    "AUTO": ("float32", "float16", "bfloat16", "default"),
}


def properties_of(device: str, configuration: Configuration) -> dict[str, str]:
    """Properties of one device, all that it has of those that decide on its speed."""
    properties = {"PERFORMANCE_HINT": _hint(configuration)}
    if configuration.precision in SHORT_NAMES:
        properties["INFERENCE_PRECISION_HINT"] = SHORT_NAMES[configuration.precision]
    if device in ("CPU", "GPU"):
        properties["NUM_STREAMS"] = str(configuration.streams)
    if device == "CPU":
        # Shared by its streams.
        properties["INFERENCE_NUM_THREADS"] = str(configuration.threads * configuration.streams)
        # The benchmark binds the process, or nothing: other runtimes do not bind by themselves.
        properties["ENABLE_CPU_PINNING"] = "NO"
    return properties


def automatic_properties(
    devices: Iterable[str], configuration: Configuration
) -> dict[str, str | dict[str, dict[str, str]]]:
    """Properties of AUTO, which hands each device its own."""
    return {
        "PERFORMANCE_HINT": _hint(configuration),
        # It would answer from the CPU until the other device is ready: two devices in one series.
        "ENABLE_STARTUP_FALLBACK": "NO",
        "DEVICE_PROPERTIES": {
            device: properties_of(device.split(".")[0], configuration) for device in devices
        },
    }


def _hint(configuration: Configuration) -> str:
    return "LATENCY" if configuration.streams == 1 else "THROUGHPUT"
