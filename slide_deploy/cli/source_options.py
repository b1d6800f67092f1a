"""The command-line options that name a network, for all commands that read one."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from slide_deploy.cli.source import Source, WeightSource

_CHECKPOINT = Annotated[
    Path | None,
    typer.Argument(
        help="Trained checkpoint: a file, or the folder of a hub; or a network as an .onnx file.",
        show_default=False,
        metavar="CHECKPOINT",
    ),
]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "model": (
        Annotated[
            str | None,
            typer.Option(
                help="A network of your own: what builds it, or the file that has it as "
                "net.py:build. It is imported and called.",
                metavar="MODULE:FACTORY",
            ),
        ],
        None,
    ),
    "model_args": (
        Annotated[
            str | None,
            typer.Option(
                help="Arguments of the factory: a JSON object by name, or a list.", metavar="JSON"
            ),
        ],
        None,
    ),
    "weights_file": (
        Annotated[Path | None, typer.Option(help="Checkpoint with the weights of --model.")],
        None,
    ),
    "input": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="An input of --model by its sizes; repeat for several. Open sizes by name: "
                "image=batchx3xheight:480xwidth:640; other types behind: 1x77:int64.",
                metavar="1x3x640x640",
            ),
        ],
        None,
    ),
    "weights": (
        Annotated[
            WeightSource,
            typer.Option(
                help="Averaged or raw weights; auto prefers averaged ones.", case_sensitive=False
            ),
        ],
        WeightSource.auto,
    ),
    "entry": (
        Annotated[
            str | None,
            typer.Option(
                help="Which network to take if the file holds several, for example model_ema.",
                metavar="PATH",
            ),
        ],
        None,
    ),
    "leave_out": (
        Annotated[
            list[str] | None,
            typer.Option(
                help="Leave out tensors whose names begin with NAME: the outputs need none.",
                metavar="NAME",
            ),
        ],
        None,
    ),
    "image_size": (
        Annotated[
            str | None,
            typer.Option(
                help="Side of the image, or HEIGHTxWIDTH. If left out, that of training.",
                metavar="SIZE",
            ),
        ],
        None,
    ),
    "window_size": (
        Annotated[
            int | None,
            typer.Option(min=1, help="Largest attention window. If left out, that of training."),
        ],
        None,
    ),
    "keep_windows": (
        Annotated[
            bool,
            typer.Option(
                "--keep-windows", help="Tile larger feature maps with the windows of training."
            ),
        ],
        False,
    ),
    "resize_position_tables": (
        Annotated[
            bool,
            typer.Option(
                "--resize-position-tables",
                help="Interpolate position tables for another image or window size.",
            ),
        ],
        False,
    ),
    "heads": (
        Annotated[
            str | None,
            typer.Option(
                help="Attention heads of each stage, if the file does not determine them.",
                metavar="1,2,5,8",
            ),
        ],
        None,
    ),
    "stripes": (
        Annotated[
            str | None,
            typer.Option(
                help="Stripe widths of each stage, if they differ from the published ones.",
                metavar="1,2,7,7",
            ),
        ],
        None,
    ),
}


def takes_source(command: Callable[..., None], against: str = "") -> Callable[..., None]:
    """Add the options that name a network to a command.

    Args:
        command: a function with a parameter ``source`` of type :class:`Source`. The checkpoint
            replaces that parameter; the other options follow the command's own.
        against: help of the option ``--against``, if that is the checkpoint instead of an argument.

    Returns:
        The command with the additional options in its signature.
    """
    name = "against" if against else "checkpoint"
    option = typer.Option("--against", help=against, show_default=False)
    named = {name: (Annotated[Path | None, option] if against else _CHECKPOINT, None)}
    options = {
        each: inspect.Parameter(
            each, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for each, (annotation, default) in {**named, **_OPTIONS}.items()
    }
    parameters = [
        options[name]
        if each.name == "source"
        else each.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for each in inspect.signature(command).parameters.values()
    ]
    parameters += [each for each in options.values() if each.name != name]

    @wraps(command)
    def with_source(**values: Any) -> None:
        given = {name: values.pop(name) for name in options}
        given = {
            "checkpoint" if name == "against" else name: (
                tuple(value) if isinstance(value, list) else value
            )
            for name, value in given.items()
        }
        source = replace(Source(), **{name: value for name, value in given.items() if value})
        command(source=source, **values)

    with_source.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_source.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_source


def against_source(help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options that name a network to a command, the checkpoint as ``--against``.

    Args:
        help: of ``--against``.
    """
    return lambda command: takes_source(command, help)
