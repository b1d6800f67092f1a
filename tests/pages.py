"""Tables of the documentation: made from records, or read from a page."""

from benchmarks.generated_page import END, GeneratedPage
from slide_deploy.formats import format_named, known_formats
from slide_deploy.precisions import Precision, known_precisions
from slide_deploy.presets import PRESETS


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


def presets_table() -> str:
    """The presets as a table of Markdown."""
    rows = [
        "| preset | `--to` | `--precision` | `--lowering` | pixels | batch | why |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset in PRESETS:
        pixels = preset.input_layout if preset.embed_preprocessing else "normalised"
        pictures = all(format_named(name).takes_pictures for name in preset.formats)
        if preset.embed_preprocessing and pictures:
            pixels = "a picture"
        batch = "open" if preset.dynamic_batch else "1"
        rows.append(
            f"| `{preset.name}` | {', '.join(preset.formats)} | {preset.precision} | "
            f"{preset.lowering} | {pixels} | {batch} | {preset.reason} |"
        )
    return "\n".join(rows) + "\n"


def generated_rows(page: GeneratedPage) -> list[tuple[str, ...]]:
    """The cells of each row of the table in the generated section of a page."""
    before, after = page.around()
    text = page.path.read_text(encoding="utf-8")
    table = text[len(before + page.begin) : len(text) - len(after + END)]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[2:]]
