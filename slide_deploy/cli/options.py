"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from slide_deploy.cli.completion import FORMS, all_targets, one_of
from slide_deploy.images.description import LAYOUTS, ORDERS
from slide_deploy.precisions import FLOAT32, known_precisions
from slide_deploy.tasks.options import AUTO


class PrecisionOption(StrEnum):
    """A name of ``slide_deploy.precisions``."""

    _ignore_ = "members each"
    members = vars()
    for each in known_precisions():
        members[each.name] = each.name


DEFAULT_PRECISION = PrecisionOption(FLOAT32.name)


LoweringOption = Annotated[
    str | None,
    typer.Option(
        help="Form of the slide attentions: auto takes the fastest by measurement. Or depthwise, "
        "per-offset, broadcast, running-mean, dual or flat; with a number of strips: "
        "per-offset/4. auto if left out.",
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
EmbedOption = Annotated[
    bool | None,
    typer.Option(
        "--embed-preprocessing/--no-embed-preprocessing",
        help="Let files take pixels from 0 to 255, as uint8 or as a picture.",
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        help="Of each channel in training, of pixels from 0 to 1. By default what the checkpoint "
        "says, or ImageNet's.",
        metavar="R,G,B",
    ),
]
DeviationOption = Annotated[
    str | None, typer.Option(help="The same for the deviation.", metavar="R,G,B")
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        help="Of the pixels that a file takes: nchw or nhwc.",
        metavar="LAYOUT",
        autocompletion=one_of(LAYOUTS),
    ),
]
OrderOption = Annotated[
    str | None,
    typer.Option(
        help="Of the channels that a file takes: rgb, as in training, or bgr.",
        metavar="ORDER",
        autocompletion=one_of(ORDERS),
    ),
]
CalibrationOption = Annotated[
    Path | None,
    typer.Option(
        help="Pictures, or an array for each input: int8 measures ranges of values on them, "
        "float16 what overflows.",
        metavar="DIR|FILE.npz",
    ),
]
MaxDropOption = Annotated[
    float | None,
    typer.Option(
        help="Percentage points of top-1 that an int8 file may lose: layers return to float, the "
        "worst first, until it loses no more.",
        metavar="POINTS",
    ),
]
DataOption = Annotated[
    Path | None,
    typer.Option(
        help="Pictures for --max-drop: a folder with one folder for each class, or a CSV file of "
        "path,label. By default those for calibration, without those that ranges are measured on.",
        metavar="DIR|CSV",
    ),
]
LabelsOption = Annotated[
    str | None,
    typer.Option(
        help="Names of the classes, one a line; imagenet takes those of ImageNet.",
        metavar="FILE|imagenet",
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        help="standard-ops for files of slide-deploy, portable for any other, or a TOML file laid "
        "over one of them; by default as each file says.",
        metavar="NAME|TOML",
    ),
]
VerifyOnOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Verify each file on this target too, if it runs it: as openvino:gpu; once for each.",
        metavar="TARGET",
        autocompletion=all_targets,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the result as JSON here; - is standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
