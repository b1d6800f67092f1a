"""The targets of Core ML. They have no profile, because Core ML does not time its operators."""

from functools import partial

from slide_deploy.backends.base import Target
from slide_deploy.backends.coreml.package import SUFFIXES, open_on
from slide_deploy.backends.coreml.units import UNITS

TARGETS = tuple(
    Target(
        name=units.target,
        suffixes=SUFFIXES,
        find=units.find,
        open=partial(open_on, units),
        processor=units.name == "cpu",
    )
    for units in UNITS
)
