"""The targets of LiteRT: XNNPACK, LiteRT's own kernels, and one per kind of delegate."""

from functools import partial
from importlib.util import find_spec

from slide_deploy.backends.base import Availability, Target
from slide_deploy.backends.litert.delegates import DEVICES
from slide_deploy.backends.litert.intermediates import intermediates
from slide_deploy.backends.litert.interpreter import PACKAGE, SUFFIXES, version
from slide_deploy.backends.litert.session import open_on_cpu

CPU, REFERENCE = "litert:cpu", "litert:reference"


def _find(kernels: str) -> Availability:
    if find_spec(PACKAGE) is None:
        return Availability(
            False, "ai_edge_litert is not installed: pip install 'slide-deploy[litert]'"
        )
    return Availability(True, f"ai-edge-litert {version()}, {kernels}")


TARGETS = (
    Target(
        name=CPU,
        suffixes=SUFFIXES,
        find=partial(_find, "XNNPACK"),
        open=partial(open_on_cpu, CPU, True),
        processor=True,
    ),
    Target(
        name=REFERENCE,
        suffixes=SUFFIXES,
        find=partial(_find, "its own kernels"),
        open=partial(open_on_cpu, REFERENCE, False),
        intermediates=intermediates,
        processor=True,
        is_timed=False,
    ),
    *(
        Target(name=device.target, suffixes=SUFFIXES, find=device.find, open=device.open)
        for device in DEVICES
    ),
)
