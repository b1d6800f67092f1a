"""What is taken where nothing was measured."""

from slide_deploy.formats import format_run_on

# Of targets that run no format of ours: the canonical form.
_FORM = "depthwise"


def default_form(target: str) -> str:
    """The form for a target of which nothing is known."""
    format = format_run_on(target)
    return _FORM if format is None else format.default_form


def measured_as(target: str, precision: str) -> str:
    """The precision whose figures count for files of another.

    On the processor OpenVINO keeps float16 weights and computes in float32: the same kernels.
    """
    return "float32" if target == "openvino:cpu" and precision == "float16" else precision
