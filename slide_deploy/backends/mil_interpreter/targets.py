"""The target of the interpreter, which only proves files: its speed is meaningless."""

from importlib.metadata import version
from importlib.util import find_spec

from slide_deploy import __version__
from slide_deploy.backends.base import Availability, Target
from slide_deploy.backends.mil_interpreter.session import (
    NAME,
    SUFFIXES,
    intermediates,
    open_program,
)


def _find() -> Availability:
    for library, extra in (("coremltools", "coreml"), ("torch", "torch")):
        if find_spec(library) is None:
            return Availability(
                False, f"{library} is not installed: pip install 'slide-deploy[{extra}]'"
            )
    # Importing coremltools takes seconds.
    return Availability(True, f"slide-deploy {__version__}, coremltools {version('coremltools')}")


TARGETS = (
    Target(
        name=NAME,
        suffixes=SUFFIXES,
        find=_find,
        open=open_program,
        intermediates=intermediates,
        is_timed=False,
    ),
)
