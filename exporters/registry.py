"""The formats that can be written."""

from exporters.base import Exporter
from slide_deploy.errors import InputError
from slide_deploy.lowerings import Traits

# ONNX Runtime gains by bare products what it takes for adding biases, a split and transposes, and
# by slide stages on maps what it takes to leave its layout of convolutions. OpenVINO neither gains
# nor loses by the former and has normalisations as one operator; what Apple's compiler makes of
# either was not measured.
#
# OpenVINO files hold float16 weights and compute as the device likes; Core ML's float16 is that of
# weights and arithmetic, and "mixed" keeps all but the projections in float32.
EXPORTERS = (
    Exporter(
        "onnx",
        ".onnx",
        ("onnx", "onnxscript", "onnxruntime"),
        "onnx",
        traits=Traits(bare_products=True, map_stages=True),
    ),
    Exporter("openvino", ".xml", ("openvino",), "openvino", ("float32", "float16"), (".bin",)),
    Exporter(
        "coreml",
        ".mlpackage",
        ("coremltools",),
        "coreml",
        ("float32", "float16", "mixed"),
        max_rank=5,
    ),
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
