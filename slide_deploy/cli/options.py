"""Arguments and options that several commands share, and what they mean."""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.completion import ALL, FORMS, one_of
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import format_names
from slide_deploy.image_size import parse_size
from slide_deploy.precisions import FLOAT32, known_precisions

if TYPE_CHECKING:
    from slide_deploy.checkpoint import Checkpoint
    from slide_deploy.lowerings import FileChooser, Lowering


class Precision(StrEnum):
    """A name of ``slide_deploy.precisions``."""

    _ignore_ = "members each"
    members = vars()
    for each in known_precisions():
        members[each.name] = each.name


DEFAULT_PRECISION = Precision(FLOAT32.name)


class Weights(StrEnum):
    """Which weights of a training run to take."""

    auto = "auto"
    averaged = "averaged"
    raw = "raw"


CheckpointArgument = Annotated[
    Path,
    typer.Argument(help="Trained checkpoint: a file, or the folder of a hub.", show_default=False),
]
WeightsOption = Annotated[
    Weights,
    typer.Option(
        help="Averaged or last weights; auto prefers averaged ones.", case_sensitive=False
    ),
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(help="Image side, or HEIGHTxWIDTH; that of training if left out.", metavar="SIZE"),
]
WindowSizeOption = Annotated[
    int | None, typer.Option(min=1, help="Largest attention window; that of training if left out.")
]
KeepWindowsOption = Annotated[
    bool,
    typer.Option("--keep-windows", help="Tile larger maps with the windows of training."),
]
ResizeTablesOption = Annotated[
    bool,
    typer.Option(
        "--resize-position-tables",
        help="Interpolate position tables for another image or window size.",
    ),
]
EntryOption = Annotated[
    str | None,
    typer.Option(help="Which network, where the file holds several: model_ema.", metavar="PATH"),
]
LeaveOutOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Leave out tensors whose names begin so; their network answers without them.",
        metavar="NAME",
    ),
]
# The lowering that is chosen by measurement.
AUTO = "auto"
LoweringOption = Annotated[
    str,
    typer.Option(
        help="Form of the slide attentions: auto takes the fastest by measurement. Or depthwise, "
        "per-offset, broadcast, running-mean, dual or flat; with a number of strips: "
        "per-offset/4.",
        metavar="FORM",
        autocompletion=one_of((AUTO, *FORMS)),
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Sizes of an input that has open ones; once for each.", metavar="NAME=1x3x224x224"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the result as JSON here; - is standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]


def require(library: str, extra: str) -> None:
    """Refuse to go on without a library, with the command that brings it.

    Raises:
        MissingExtra: if it is not installed.
    """
    if find_spec(library) is None:
        raise MissingExtra(library, extra)


def parse_formats(texts: Sequence[str]) -> tuple[str, ...]:
    """Formats of "onnx", "ONNX,openvino" or "all", each once.

    Raises:
        InputError: if one is unknown.
    """
    known = format_names()
    found: list[str] = []
    for text in texts:
        for name in text.split(","):
            format = name.strip().lower()
            if format not in (*known, ALL):
                raise InputError(
                    f"{name.strip() or f'--to {text}'} is not a format: choose one of "
                    f"{', '.join(known)}, or all of them as {ALL}."
                )
            found += known if format == ALL else (format,)
    return tuple(dict.fromkeys(found))


def named(path: Path) -> Path:
    """A path whose last part is a name, also where it was given as ``.`` or ``..``."""
    return path if path.name not in ("", "..") else path.resolve()


def load_trained(
    path: Path,
    weights: Weights,
    image_size: str | None,
    window_size: int | None,
    keep_windows: bool = False,
    resize_position_tables: bool = False,
    entry: str | None = None,
    leave_out: list[str] | None = None,
) -> "Checkpoint":
    """Load a checkpoint as the options say.

    Raises:
        MissingExtra: without torch.
        InputError: if the file or an option cannot be used.
    """
    require("torch", "all")
    from slide_deploy.checkpoint import Overrides, load_checkpoint

    size = None if image_size is None else parse_size(image_size, "--image-size")
    wanted = Overrides(
        weights=weights.value,
        image_size=size,
        window_size=window_size,
        keep_windows=keep_windows,
        resize_position_tables=resize_position_tables,
        entry=entry,
        leave_out=tuple(leave_out or ()),
    )
    return load_checkpoint(named(path), wanted)


def read_lowering(text: str, map_size: tuple[int, int] | None = None) -> "Lowering | FileChooser":
    """What ``--lowering`` and the ``lowering`` of a suite mean.

    Args:
        text: "auto", or a form and its strips.
        map_size: height and width of the map, for attentions that do not know it themselves.

    Raises:
        InputError: if it is neither.
    """
    from slide_deploy.lowerings import Lowering

    if text.lower() != AUTO:
        return Lowering.parse(text.lower())
    from slide_deploy.tuning.choice import for_format

    return partial(for_format, map_size=map_size)
