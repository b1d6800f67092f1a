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
        help="Form of the slide attentions: depthwise, running-mean or flat, with a number of "
        "strips if you like: flat/4. If left out, auto: the fastest by measurement.",
        metavar="FORM",
        autocompletion=one_of((AUTO, *FORMS)),
    ),
]
ShapeOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Sizes of an input that has open ones; repeat for several.", metavar="NAME=1x3x224x224"
    ),
]
EmbedOption = Annotated[
    bool | None,
    typer.Option(
        "--embed-preprocessing/--no-embed-preprocessing",
        help="Make files that take pixels from 0 to 255, as uint8 or as a picture.",
    ),
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        help="Mean of each channel in training, for pixels from 0 to 1. If left out, that of the "
        "checkpoint, or ImageNet's.",
        metavar="R,G,B",
    ),
]
DeviationOption = Annotated[
    str | None,
    typer.Option(
        help="Standard deviation of each channel in training, as --mean.", metavar="R,G,B"
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        help="Layout of the pixels that the file takes: nchw or nhwc.",
        metavar="LAYOUT",
        autocompletion=one_of(LAYOUTS),
    ),
]
OrderOption = Annotated[
    str | None,
    typer.Option(
        help="Order of the channels that the file takes: rgb, as in training, or bgr.",
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
OutputOption = Annotated[
    str | None,
    typer.Option(
        help="Name of the output with the classes, if several could be it.", metavar="NAME"
    ),
]
PolicyOption = Annotated[
    str | None,
    typer.Option(
        help="standard-ops for files of slide-deploy, portable for any other, or a TOML file laid "
        "over one of them; by default the one each file names.",
        metavar="NAME|TOML",
    ),
]
VerifyOnOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Verify each file on this target too, if it runs there, as openvino:gpu; repeat for "
        "several.",
        metavar="TARGET",
        autocompletion=all_targets,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the result as JSON to this file; - is standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
