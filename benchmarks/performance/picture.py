"""``python -m benchmarks.performance.picture RESULT --out FOLDER``: accuracy plots as pictures.

The plots are those of the report, one for each target. Plotly writes them with kaleido, which
drives a browser of the system.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from benchmarks import result
from benchmarks.record import Run
from benchmarks.report.figures import Figure
from benchmarks.report.figures.accuracy import accuracy
from benchmarks.report.figures.figure import label
from benchmarks.report.palette import SURFACE
from benchmarks.report.summary import summarise
from slide_deploy.errors import InputError, MissingExtra, SlideDeployError
from slide_deploy.files.writing import write_bytes

# Laid out as on a narrow page and shown larger: so letters can be read on a phone, too.
_WIDTH, _HEIGHT, _SCALE = 520, 420, 1.4
_TITLE = 34


def draw(run: Run, folder: Path) -> list[Path]:
    """Draw accuracy against latency for each target of a run.

    Returns:
        The files, SVG, which are named after the targets: ``accuracy_onnxruntime_cpu.svg``.

    Raises:
        InputError: if no two candidates state their accuracy, or the pictures cannot be drawn.
    """
    (section,) = summarise([run]).sections
    plots = {_file_name(plot): plot for plot in accuracy(section.views[0])}
    if not plots:
        raise InputError("The run has no two candidates that state an accuracy: run another suite.")
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
        # A page may be dark: the picture brings its own ground.
        paper_bgcolor=SURFACE.light,
        title={"text": label(plot.title), "x": 0.02, "y": 0.97, "font": {"size": 14}},
    )
    try:
        content: bytes = drawing.to_image(format="svg", scale=_SCALE)
    except Exception as error:  # of kaleido and of what drives the browser, which have no base
        raise InputError(
            f"The plots cannot be drawn ({type(error).__name__}): install Chrome or Chromium, or "
            f"name its program in the environment variable BROWSER_PATH."
        ) from error
    return content


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 2 if the pictures cannot be drawn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.performance.picture")
    parser.add_argument("result", type=Path, help="of a suite that states accuracies")
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    chosen = parser.parse_args(arguments)
    try:
        for path in draw(result.read(chosen.result), chosen.out):
            print(f"written: {path}")
    except SlideDeployError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
