"""What is taken where nothing was measured."""

from slide_deploy.formats import format_run_on
from slide_deploy.precisions import precision_named

# Of targets that run no format of ours: the canonical form.
_FORM = "depthwise"


def default_form(target: str) -> str:
    """The form for a target of which nothing is known."""
    format = format_run_on(target)
    return _FORM if format is None else format.default_form


def measured_as(target: str, precision: str) -> str:
    """The precision whose figures count for files of another.

    Raises:
        InputError: if there is no such precision.
    """
    return precision_named(precision).measured_as.get(target, precision)
