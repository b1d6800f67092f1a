"""The command line. Exit code 0 is success, 1 a failed check, 2 unusable input.

Commands import heavy modules inside their functions, so that ``--help`` is fast.
"""

import errno
import os
import sys
from collections.abc import Sequence
from inspect import cleandoc
from typing import Annotated, NoReturn

import typer

from slide_deploy import __version__
from slide_deploy.cli import about, bench, check, evaluate, export, fold, results, tune, verify, web
from slide_deploy.cli.panels import LOOK, MAKE, MEASURE, TRUST, PanelCommand
from slide_deploy.errors import InputError, SlideDeployError, is_out_of_memory
from slide_deploy.process import interruption
from slide_deploy.tasks.options import missing_extra
from slide_deploy.terminal.printable import echo

app = typer.Typer(
    name="slide-deploy",
    help="Fold, export, verify, check and measure vision models that use Slide Attention.",
    epilog="Example: slide-deploy export model.pth --to onnx --to openvino --out exported",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

# Panel, command and examples, in the order of --help.
COMMANDS = (
    (
        MAKE,
        export.export,
        "slide-deploy export model.pth --to onnx --to coreml --out exported\n\n"
        "As a backbone: slide-deploy export model.pth --to onnx --features --out backbone\n\n"
        "What was rewritten: slide-deploy export model.pth --to onnx --explain\n\n"
        "For larger images: slide-deploy export model.pth --to onnx --image-size 448 "
        "--keep-windows\n\n"
        "In eight bits, at most half a point worse: slide-deploy export model.pth --to onnx "
        "--precision int8 --calibration pictures --max-drop 0.5\n\n"
        "Pixels in, labels out: slide-deploy export model.pth --to coreml --embed-preprocessing "
        "--labels imagenet --softmax\n\n"
        "A network of your own: slide-deploy export --model net:build --model-args "
        "'{\"dim\": 96}' --weights-file run.pth --input image=1x3x640x640 --to onnx",
    ),
    (
        MAKE,
        fold.fold,
        "slide-deploy fold model.pth -o folded.safetensors\n\n"
        "A network of your own: slide-deploy fold --model net:build --weights-file run.pth "
        "--input 1x3x640x640 -o folded.safetensors",
    ),
    (
        TRUST,
        verify.verify,
        "slide-deploy verify exported/model.onnx --against model.pth\n\n"
        "A file of int8, layer by layer: slide-deploy verify exported/model.onnx --against "
        "model.pth --calibration pictures --locate\n\n"
        "A file that another tool changed: slide-deploy verify simplified.onnx --against "
        "original.onnx --locate\n\n"
        "A network of your own: slide-deploy verify exported/build.onnx --model net:build "
        "--weights-file run.pth --input image=1x3x640x640",
    ),
    (
        TRUST,
        evaluate.evaluate,
        "slide-deploy evaluate exported/*.onnx --data val --against model.pth --max-drop 0.5\n\n"
        "On several machines: slide-deploy evaluate model.onnx --data val --shard 3/16 "
        "--json 3.json, then slide-deploy evaluate --merge *.json",
    ),
    (TRUST, check.check, "slide-deploy check exported/*.onnx --sarif check.sarif"),
    (
        MEASURE,
        bench.bench,
        "slide-deploy bench old.onnx new.onnx --fail-above 5% --html report.html\n\n"
        "On a phone in this network: slide-deploy bench model.onnx --web --host 0.0.0.0\n\n"
        "On a phone on a cable: slide-deploy bench model.onnx --adb",
    ),
    (
        MEASURE,
        tune.tune,
        "slide-deploy tune model.pth --target onnxruntime:cpu --target openvino:cpu\n\n"
        "A network of your own: slide-deploy tune --model net:build --input 1x3x640x640",
    ),
    (MEASURE, results.compare, "slide-deploy compare old.json new.json --fail-above 5%"),
    (MEASURE, results.report, "slide-deploy report phone.json laptop.json --html report.html"),
    (LOOK, verify.predict, "slide-deploy predict exported/model.onnx cat.jpg --top 3"),
    (LOOK, check.inspect, "slide-deploy inspect exported/model.onnx"),
    (LOOK, about.models, "slide-deploy models"),
    (LOOK, about.doctor, "slide-deploy doctor"),
)
for _panel, _command, _example in COMMANDS:
    # Join the lines of each paragraph, so that the terminal wraps them at its own width.
    _paragraphs = cleandoc(_command.__doc__ or "").split("\n\n")
    _help = "\n\n".join(each.replace("\n", " ") for each in _paragraphs)
    app.command(
        cls=PanelCommand, help=_help, epilog=f"Example: {_example}", rich_help_panel=_panel
    )(_command)
app.add_typer(web.web, name="web", rich_help_panel=MEASURE)


def main() -> None:
    """Run the command line with Ctrl-C and SIGTERM handled."""
    interruption.run(run)


def run() -> None:
    """Run the command line; print expected errors as one sentence and exit with code 2."""
    try:
        _refuse_empty(sys.argv[1:])
        app(prog_name=app.info.name)  # shell completion needs this very name
    except SlideDeployError as error:
        interruption.check()  # a library may have turned a Ctrl-C into this error
        if is_out_of_memory(error):
            _end_without_memory()
        echo(f"slide-deploy: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        lacking = missing_extra(error)
        if lacking is None:
            raise
        echo(f"slide-deploy: {lacking}", err=True)
        sys.exit(2)
    except (ImportError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        interruption.check()
        _end_without_memory()
    except OSError as error:
        # Without a file name the error came from writing, to a full disk or a closed terminal.
        if error.filename is not None or error.errno not in (errno.ENOSPC, errno.EIO):
            raise
        _drop_standard_output()
        echo(f"slide-deploy: standard output cannot be written ({error.strerror}).", err=True)
        sys.exit(2)


def _end_without_memory() -> NoReturn:
    advice = "close other programs, or use a machine with more memory"
    echo(f"slide-deploy: out of memory: {advice}.", err=True)
    sys.exit(2)


def _drop_standard_output() -> None:
    """Discard buffered output; otherwise Python would report an error at exit."""
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Refuse an empty argument, which usually comes from an unset variable.

    Python would treat an empty path as the current folder.

    Raises:
        InputError: an argument is empty.
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
        echo(__version__)
        raise typer.Exit
