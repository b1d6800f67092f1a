"""``python -m benchmarks.report.picture RESULT --out FOLDER``: accuracy plots as SVG files.

The plots are those of the report, one for each target. Plotly draws them with kaleido, which needs
an installed browser.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks import result
from benchmarks.generated_page import page_command
from benchmarks.record import Run
from benchmarks.report.figures import Figure
from benchmarks.report.figures.accuracy import accuracy
from benchmarks.report.figures.figure import label
from benchmarks.report.palette import SURFACE
from benchmarks.report.summary import summarise
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.files.writing import write_bytes

# The layout of a narrow page, scaled up, so that letters are readable on a phone.
_WIDTH, _HEIGHT, _SCALE = 520, 420, 1.4
_TITLE = 34


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw accuracy against latency for each target of a run.

    Returns:
        The SVG files, named after the targets: ``accuracy_onnxruntime_cpu.svg``.

    Raises:
        InputError: Fewer than two candidates have an accuracy, or the plots cannot be drawn.
    """
    (section,) = summarise([run])
    plots = {_file_name(plot): plot for plot in accuracy(section.views[0])}
    if not plots:
        raise InputError(
            "The run has fewer than two candidates with an accuracy: give the run of another suite."
        )
    drawn = {folder / name: _svg(plot) for name, plot in plots.items()}
    for path, content in drawn.items():
        write_bytes(path, content)
    return list(drawn)


def _file_name(plot: Figure) -> str:
    _, _, where = plot.title.partition(" on ")
    return "_".join(["accuracy", *re.findall(r"\w+", where)]) + ".svg"


def _svg(plot: Figure) -> bytes:
    if find_spec("kaleido") is None:
        raise MissingExtra("kaleido", "dev")
    from plotly.graph_objects import Figure as Drawing

    drawing = Drawing(plot.spec)
    drawing.update_layout(
        width=_WIDTH,
        height=_HEIGHT,
        margin_t=_TITLE,
        margin_r=24,
        # An opaque background, as the page may be dark.
        paper_bgcolor=SURFACE.light,
        title={"text": label(plot.title), "x": 0.02, "y": 0.97, "font": {"size": 14}},
    )
    try:
        content: bytes = drawing.to_image(format="svg", scale=_SCALE)
    except Exception as error:  # kaleido and its browser driver have no common base class
        raise InputError(
            f"The plots cannot be drawn ({type(error).__name__}): install Chrome or Chromium, or "
            f"set the environment variable BROWSER_PATH to its program."
        ) from error
    return content


@page_command
def main(arguments: Sequence[str] | None) -> int:
    """Draw the plots of a result. Return 2 if they cannot be drawn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report.picture")
    parser.add_argument("result", type=Path, help="result of a suite with accuracies")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    chosen = parser.parse_args(arguments)
    for path in draw(result.read(chosen.result), chosen.out):
        print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
