"""Arguments and options that several commands share, and what they mean."""

import re
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.errors import InputError, MissingExtra

if TYPE_CHECKING:
    from slide_deploy.checkpoint import Checkpoint


class Precision(StrEnum):
    """Type of weights and, where the format has it, of the arithmetic."""

    float32 = "float32"
    float16 = "float16"
    mixed = "mixed"


class Weights(StrEnum):
    """Which weights of a training run to take."""

    auto = "auto"
    averaged = "averaged"
    raw = "raw"


CheckpointArgument = Annotated[
    Path, typer.Argument(help="Trained checkpoint: .pth, .pt or .safetensors.", show_default=False)
]
WeightsOption = Annotated[
    Weights, typer.Option(help="Averaged or last weights; auto prefers averaged ones.")
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option(help="Image side, or HEIGHTxWIDTH; that of training if left out.", metavar="SIZE"),
]
WindowSizeOption = Annotated[
    int | None, typer.Option(help="Largest attention window; that of training if left out.")
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
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]


def require(library: str, extra: str) -> None:
    """Refuse to go on without a library, with the command that brings it.

    Raises:
        MissingExtra: if it is not installed.
    """
    if find_spec(library) is None:
        raise MissingExtra(library, extra)


def load_trained(
    path: Path,
    weights: Weights,
    image_size: str | None,
    window_size: int | None,
    keep_windows: bool = False,
    resize_position_tables: bool = False,
) -> "Checkpoint":
    """Load a checkpoint as the options say.

    Raises:
        MissingExtra: without torch.
        InputError: if the file or an option cannot be used.
    """
    require("torch", "all")
    from slide_deploy.checkpoint import Overrides, load_checkpoint

    size = None if image_size is None else _parse_size(image_size)
    wanted = Overrides(weights.value, size, window_size, keep_windows, resize_position_tables)
    return load_checkpoint(path, wanted)


def _parse_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    if match is None:
        raise InputError(f"--image-size {text} is not a size: give 224 or 512x768.")
    return int(match[1]), int(match[2] or match[1])
