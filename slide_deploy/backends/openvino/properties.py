"""OpenVINO properties that a configuration sets. This module does not import OpenVINO."""

from collections.abc import Iterable

from slide_deploy.backends.base import Configuration

# OpenVINO's abbreviations.
SHORT_NAMES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}

# Precisions in which each device computes. The NPU supports float16 and integers only.
PRECISIONS = {
    "CPU": ("float32", "float16", "bfloat16", "default"),
    "GPU": ("float32", "float16", "default"),
    "NPU": ("float16", "default"),
    "AUTO": ("float32", "float16", "bfloat16", "default"),
}


def properties_of(device: str, configuration: Configuration) -> dict[str, str]:
    """Return the properties of one device that affect its speed."""
    properties = {"PERFORMANCE_HINT": _hint(configuration)}
    if configuration.precision in SHORT_NAMES:
        properties["INFERENCE_PRECISION_HINT"] = SHORT_NAMES[configuration.precision]
    if device in ("CPU", "GPU"):
        properties["NUM_STREAMS"] = str(configuration.streams)
    if device == "CPU":
        # All streams share these threads.
        properties["INFERENCE_NUM_THREADS"] = str(configuration.threads * configuration.streams)
        # The benchmark pins the process if requested. Other runtimes do not pin threads themselves.
        properties["ENABLE_CPU_PINNING"] = "NO"
    return properties


def automatic_properties(
    devices: Iterable[str], configuration: Configuration
) -> dict[str, str | dict[str, dict[str, str]]]:
    """Return the properties of AUTO, which passes each device its own."""
    return {
        "PERFORMANCE_HINT": _hint(configuration),
        # Otherwise it runs on the CPU until the other device is ready, and one series mixes both.
        "ENABLE_STARTUP_FALLBACK": "NO",
        "DEVICE_PROPERTIES": {
            device: properties_of(device.split(".")[0], configuration) for device in devices
        },
    }


def _hint(configuration: Configuration) -> str:
    return "LATENCY" if configuration.streams == 1 else "THROUGHPUT"
