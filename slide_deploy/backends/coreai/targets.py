"""The targets of Core AI."""

from importlib.metadata import version
from importlib.util import find_spec

from slide_deploy.backends.base import Availability, Target
from slide_deploy.backends.coreai.session import LIBRARY, TARGET, intermediates, open_session


def _find() -> Availability:
    if find_spec("coreai") is None:
        return Availability(False, "pip install 'slide-deploy[coreai]'")
    return Availability(True, f"{LIBRARY} {version(LIBRARY)}, a preview")


TARGETS = (
    Target(
        TARGET,
        (".aimodel",),
        _find,
        open_session,
        intermediates,
        processor=True,
        is_timed=False,
    ),
)
