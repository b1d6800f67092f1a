"""Arguments and options that several commands share."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from slide_deploy.cli.completion import FORMS, one_of
from slide_deploy.precisions import FLOAT32, known_precisions
from slide_deploy.tasks.options import AUTO


class Precision(StrEnum):
    """A name of ``slide_deploy.precisions``."""

    _ignore_ = "members each"
    members = vars()
    for each in known_precisions():
        members[each.name] = each.name


DEFAULT_PRECISION = Precision(FLOAT32.name)


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
PolicyOption = Annotated[
    str | None,
    typer.Option(
        help="standard-ops for files of slide-deploy, portable for any other, or a TOML file laid "
        "over one of them; by default as each file says.",
        metavar="NAME|TOML",
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
JsonOption = Annotated[
    Path | None,
    typer.Option("--json", help="Write the result as JSON here; - is standard output."),
]
ForceOption = Annotated[bool, typer.Option("--force", "-f", help="Replace files that exist.")]
