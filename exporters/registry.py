"""Who writes which format; ``slide_deploy.formats`` says what formats there are."""

from exporters.base import Exporter
from slide_deploy.formats import format_named


def exporter_for(format: str, delegate: str | None = None) -> Exporter:
    """The exporter of a format.

    Args:
        format: its name.
        delegate: library that runs parts of the files, where the format has a choice of them; its
            default if None.

    Raises:
        InputError: if the format is unknown, or has delegates and not this one.
    """
    record = format_named(format)
    return Exporter(record, record.delegate(delegate))
