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
from slide_deploy.precisions import FLOAT32, known_precisions

if TYPE_CHECKING:
    from slide_deploy.graph_checks import Policy
    from slide_deploy.lowerings import FileChooser, Lowering


class Precision(StrEnum):
    """A name of ``slide_deploy.precisions``."""

    _ignore_ = "members each"
    members = vars()
    for each in known_precisions():
        members[each.name] = each.name


DEFAULT_PRECISION = Precision(FLOAT32.name)


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
PolicyOption = Annotated[
    Path | None, typer.Option(help="Policy, laid over standard-ops.", metavar="TOML")
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


def read_policy(path: Path | None) -> "Policy | None":
    """What ``--policy`` names; None where it names nothing.

    Raises:
        InputError: if the file cannot be used.
    """
    from slide_deploy.graph_checks import load_policy

    return None if path is None else load_policy(path)


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
