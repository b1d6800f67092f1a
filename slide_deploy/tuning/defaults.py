"""What is taken where nothing was measured, and which target a format is tuned for."""

# Target of each format: what most files of it are run on.
FORMAT_TARGETS = {
    "onnx": "onnxruntime:cpu",
    "openvino": "openvino:cpu",
    "coreml": "coreml:all",
}

# Runtime: form. The first whose name the target begins with.
#
# Core ML: the Neural Engine computes on tensors of rank 4 with the channels in the second axis, and
# gathers and slices along it fall back to the processor. The per-offset form has no others, and is
# the only one whose convolutions are depthwise in the engine's sense, one output a channel.
#
# OpenVINO: its depthwise kernel as well computes one output a channel; with K of them a convolution
# takes the slow path of general groups.
#
# ONNX Runtime: its blocked depthwise kernel computes one output a channel, too. Attention is
# broadcast, since the sum over features leaves the blocked layout anyway.
DEFAULT_FORMS = (
    ("coreml", "per-offset"),
    ("openvino", "per-offset"),
    ("onnxruntime", "broadcast"),
)


def default_form(target: str) -> str:
    """The form for a target of which nothing is known."""
    runtime = target.split(":")[0]
    return dict(DEFAULT_FORMS).get(runtime, "depthwise")


def measured_as(target: str, precision: str) -> str:
    """The precision whose figures count for files of another.

    On the processor OpenVINO keeps float16 weights and computes in float32: the same kernels.
    """
    return "float32" if target == "openvino:cpu" and precision == "float16" else precision
