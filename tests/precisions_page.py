"""The tables of precisions in ``docs/verification.md``, made from the records."""

from slide_deploy.formats import known_formats
from slide_deploy.precisions import Precision, known_precisions


def precisions_table() -> str:
    """What files of each precision hold, format by format, as a table of Markdown."""
    formats = known_formats()
    rows = [
        f"| `--precision` | {' | '.join(format.name for format in formats)} |",
        "|---|" + "---|" * len(formats),
    ]
    for precision in known_precisions():
        cells = (
            format.meanings.get(precision.name, precision.meaning)
            if precision.name in format.precisions
            else ""
            for format in formats
        )
        rows.append(f"| `{precision.name}` | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def limits_table() -> str:
    """How far answers of each precision may be off, as a table of Markdown."""
    rows = ["| `--precision` | max rel | SNR dB | on what |", "|---|---|---|---|"]
    for precision in known_precisions():
        limit = precision.limit
        rows.append(
            f"| `{precision.name}` | {limit.relative:g} | {limit.snr_db:g} | {_inputs(precision)} |"
        )
    return "\n".join(rows) + "\n"


def _inputs(precision: Precision) -> str:
    return "examples held back" if precision.is_calibrated else "the inputs above"
