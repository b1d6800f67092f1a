"""Who writes which format; ``slide_deploy.formats`` says what formats there are."""

from exporters.base import Exporter
from slide_deploy.formats import format_named


def exporter_for(format: str) -> Exporter:
    """The exporter of a format.

    Raises:
        InputError: if the format is unknown.
    """
    return Exporter(format_named(format))
