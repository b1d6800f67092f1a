"""The command line: wires, prints and exits. 0 success, 1 a check that says no, 2 unusable input.

Everything heavy is imported inside the commands, so that ``--help`` answers at once.
"""

import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from slide_deploy import __version__
from slide_deploy.cli import about, bench, check, export, results, tune, verify
from slide_deploy.errors import InputError, SlideDeployError

app = typer.Typer(
    name="slide-deploy",
    help="Fold, export, verify, check and measure vision models that use Slide Attention.",
    epilog="Example: slide-deploy export model.pth --to onnx --to openvino --out exported",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# Each with its example, in the order in which --help lists them.
COMMANDS = (
    (
        export.export,
        "slide-deploy export model.pth --to onnx --to coreml --out exported\n\n"
        "As a backbone: slide-deploy export model.pth --to onnx --features --out backbone\n\n"
        "For larger images: slide-deploy export model.pth --to onnx --image-size 448 "
        "--keep-windows",
    ),
    (export.fold, "slide-deploy fold model.pth -o folded.safetensors"),
    (verify.verify, "slide-deploy verify exported/model.onnx --against model.pth"),
    (verify.predict, "slide-deploy predict exported/model.onnx cat.jpg --top 3"),
    (check.check, "slide-deploy check exported/*.onnx --sarif check.sarif"),
    (check.inspect, "slide-deploy inspect exported/model.onnx"),
    (bench.bench, "slide-deploy bench old.onnx new.onnx --fail-above 5% --html report.html"),
    (tune.tune, "slide-deploy tune model.pth --target onnxruntime:cpu --target openvino:cpu"),
    (results.compare, "slide-deploy compare old.json new.json --fail-above 5%"),
    (results.report, "slide-deploy report phone.json laptop.json --html report.html"),
    (about.models, "slide-deploy models"),
    (about.doctor, "slide-deploy doctor"),
)
for _command, _example in COMMANDS:
    app.command(epilog=f"Example: {_example}")(_command)


def main() -> None:
    """Run the command line; an error that is ours becomes one sentence and exit code 2."""
    # Ended from outside is ended in order: what was half-written goes.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        _refuse_empty(sys.argv[1:])
        app(prog_name=app.info.name)  # completion is for this name, however it was started
    except SlideDeployError as error:
        typer.echo(f"slide-deploy: {error}", err=True)
        sys.exit(2)


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument, which comes from a variable that is not set.

    Python would take an empty path for the folder that the command runs in.

    Raises:
        InputError: if there is one.
    """
    for before, argument in zip(("", *arguments), arguments, strict=False):
        name, equals, value = argument.partition("=")
        if argument and not (name.startswith("--") and equals and not value):
            continue
        what = name or (before if before.startswith("-") else "An argument")
        raise InputError(f"{what} is empty: give it a value, or leave it out.")


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    """Fold, export, verify, check and measure vision models that use Slide Attention."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
