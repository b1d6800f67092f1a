"""The command-line options that name a network, for all commands that read one."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from slide_deploy.cli.source import Source

_CHECKPOINT = Annotated[
    Path | None,
    typer.Argument(
        help="Trained checkpoint: a file, or the folder of a hub; or a network as an .onnx file.",
        show_default=False,
        metavar="CHECKPOINT",
    ),
]


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
    annotations = get_type_hints(Source, include_extras=True)
    annotations["checkpoint"] = Annotated[Path | None, option] if against else _CHECKPOINT
    options = {
        name if each.name == "checkpoint" else each.name: inspect.Parameter(
            name if each.name == "checkpoint" else each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=each.default,
            annotation=annotations[each.name],
        )
        for each in fields(Source)
        if each.name != "folder"
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
        given = {each: values.pop(each) for each in options}
        given["checkpoint"] = given.pop(name)
        command(source=Source(**{each: value for each, value in given.items() if value}), **values)

    with_source.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_source.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_source


def against_source(help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options that name a network to a command, the checkpoint as ``--against``."""
    return lambda command: takes_source(command, help)
