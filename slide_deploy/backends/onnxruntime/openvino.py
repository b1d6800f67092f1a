"""ONNX Runtime with subgraphs that OpenVINO runs; its CPU, unless ``device_type`` says otherwise.

Its settings go through ``load_config``: OpenVINO's own names, as JSON, one entry a device. The
options that used to set them (``num_of_threads``, ``num_streams``, ``precision``) are deprecated.
"""

import json

from slide_deploy.backends.configuration import Configuration
from slide_deploy.backends.onnxruntime.provider import Provider
from slide_deploy.backends.openvino.properties import properties_of


def options(configuration: Configuration) -> dict[str, str]:
    """Options of the provider."""
    device = configuration.options.get("device_type", "CPU")
    kind = device.split(".")[0].split(":")[0]
    return {
        "device_type": device,
        "load_config": json.dumps({kind: properties_of(kind, configuration)}),
    }


PROVIDER = Provider(
    "openvino",
    "OpenVINOExecutionProvider",
    package="onnxruntime-openvino",
    options=options,
    option_names=("cache_dir", "device_type", "disable_dynamic_shapes", "load_config"),
    precisions=("float32", "float16", "bfloat16", "default"),
    platforms=("linux", "win32"),
    # OpenVINO optimises better what nobody optimised before it, says its documentation.
    optimise=False,
)
