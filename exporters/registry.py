"""The formats that can be written."""

from exporters.base import Exporter
from slide_deploy.errors import InputError

EXPORTERS = (
    Exporter("onnx", ".onnx", ("onnx", "onnxscript", "onnxruntime"), "onnx"),
    Exporter("openvino", ".xml", ("openvino",), "openvino"),
    Exporter("coreml", ".mlpackage", ("coremltools",), "coreml"),
)


def exporter_for(format: str) -> Exporter:
    """The exporter of a format.

    Raises:
        InputError: if the format is unknown.
    """
    for exporter in EXPORTERS:
        if exporter.format == format:
            return exporter
    known = ", ".join(exporter.format for exporter in EXPORTERS)
    raise InputError(f"{format} is not a format: choose one of {known}.")
