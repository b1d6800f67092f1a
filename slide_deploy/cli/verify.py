"""The commands that run a file: verify and predict."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.completion import all_targets
from slide_deploy.cli.options import (
    CalibrationOption,
    JsonOption,
    LabelsOption,
    PrecisionOption,
    QuietOption,
)
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source, against_source
from slide_deploy.errors import InputError
from slide_deploy.terminal.printable import say

if TYPE_CHECKING:
    from slide_deploy.verification.divergence import Divergence

_CHECKPOINTS = (".pth", ".pt", ".safetensors")


@against_source
def verify(
    file: Annotated[Path, typer.Argument(help="Model file.", show_default=False)],
    source: Source,
    precision: Annotated[
        PrecisionOption | None,
        typer.Option(
            help="Precision of the file: how far its outputs may be off, and what the runtime "
            "computes in. Default: what the file claims.",
            case_sensitive=False,
        ),
    ] = None,
    calibration: CalibrationOption = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="Runtime and device that run the file, as openvino:gpu; by default the file's "
            "own runtime on the processor.",
            metavar="TARGET",
            autocompletion=all_targets,
        ),
    ] = None,
    locate: Annotated[
        bool,
        typer.Option(
            "--locate",
            help="Name the first layer that disagrees; of a quantised file, the noise of layers.",
        ),
    ] = False,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Compare a file with its network again, later or on another machine.

    Without a network, it is compared with the reference outputs that its export left beside it.
    """
    if not source.is_given:
        for option, given in (
            ("--locate", locate),
            ("--precision", precision is not None),
            ("--calibration", calibration is not None),
        ):
            if given:
                raise InputError(
                    f"{option} needs the network: give the checkpoint with --against, or a network "
                    f"of your own with --model."
                )
        _by_reference(file, target, quiet, json_to)
        return
    from slide_deploy.backends import open_file
    from slide_deploy.models.host_network import are_features
    from slide_deploy.tasks.proofs import examples_to_prove, precision_to_prove
    from slide_deploy.terminal.console import case_table, noise_line, noise_table, stdout
    from slide_deploy.terminal.progress import Steps

    _refuse_exchanged(file, source.checkpoint)
    source.require("the checkpoint with --against")
    examples = [calibration] if calibration is not None else []
    outputs = Outputs({"--json": json_to}, quiet, [file, *source.files, *examples])
    record = precision_to_prove(file, None if precision is None else precision.value, target)
    session = open_file(file, record.name, target)
    with Steps(outputs.quiet, 3) as step:
        step(f"load {source.title}")
        of_stages = source.checkpoint is not None and are_features(session.outputs)
        trained = source.load(features=of_stages)
        title = trained.origin.name

        from exporters.plain import to_json
        from slide_deploy.verification.verify import locate as find
        from slide_deploy.verification.verify import names_another_origin, verify_file

        step(f"run on {session.runtime} and compare with {source.title} in float64")
        proof = examples_to_prove(file, trained, record, calibration)
        result = verify_file(file, trained, record.name, proof.cases, target)
        foreign = names_another_origin(file, trained)
        parting = None
        if locate:
            step("compare layer by layer")
            parting = find(file, trained, record.name)
    report = {
        "passed": result.passed,
        "precision": record.name,
        "target": target,
        "verification": result,
        "locate": parting,
        "names_another_source": foreign,
    }
    outputs.write("--json", lambda: to_json(report))
    if not outputs.quiet:
        stdout().print(case_table(result))
        claimed = ", as the file claims" if precision is None else ""
        say(f"precision: {record.name}{claimed}: {record.meaning}")
        for remark in (*trained.origin.remarks, *proof.remarks):
            say(f"note: {remark}")
        if foreign:
            say(f"note: {file.name} says that it was exported from other weights")
        if parting is not None:
            if parting.noise:
                stdout().print(noise_table(parting.noise))
                say(noise_line(parting.noise))
            say(_describe_parting(parting))
    if not result.passed:
        say(
            f"slide-deploy: {file} disagrees with {title} on: {', '.join(result.failures)}.",
            err=True,
        )
    outputs.finish()
    if not result.passed:
        raise typer.Exit(1)


def _by_reference(file: Path, target: str | None, quiet: bool, json_to: Path | None) -> None:
    from exporters.plain import to_json
    from slide_deploy.terminal.console import case_table, stdout
    from slide_deploy.verification.reference_outputs.checking import (
        reference_beside,
        verify_by_reference,
    )
    from slide_deploy.verification.reference_outputs.reference_file import reference_path

    outputs = Outputs({"--json": json_to}, quiet, [file, reference_path(file)])
    reference = reference_beside(file)
    result = verify_by_reference(file, reference, target)
    report = {
        "passed": result.passed,
        "precision": reference.precision,
        "target": target,
        "verification": result,
    }
    outputs.write("--json", lambda: to_json(report))
    if not outputs.quiet:
        stdout().print(case_table(result))
        say(f"precision: {reference.precision}, as {reference_path(file).name} says")
    if not result.passed:
        say(
            f"slide-deploy: {file} disagrees with its reference outputs on: "
            f"{', '.join(result.failures)}.",
            err=True,
        )
    outputs.finish()
    if not result.passed:
        raise typer.Exit(1)


def predict(
    file: Annotated[Path, typer.Argument(help="Model file.", metavar="FILE", show_default=False)],
    images: Annotated[
        list[Path], typer.Argument(help="Pictures.", metavar="PICTURE", show_default=False)
    ],
    labels: LabelsOption = None,
    top: Annotated[int, typer.Option(min=1, help="How many classes to name.")] = 5,
    image_size: Annotated[
        str | None,
        typer.Option(help="For files that take any: side, or HEIGHTxWIDTH.", metavar="SIZE"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="Name of the output with the classes, if several could be it.", metavar="NAME"
        ),
    ] = None,
    json_to: JsonOption = None,
) -> None:
    """Name the most probable classes of pictures.

    They are prepared as the file says: given as pixels, or normalised by its mean and deviation; by
    those of ImageNet where it says nothing.
    """
    import json
    from dataclasses import asdict

    from rich.markup import escape

    from slide_deploy.backends import open_image_file
    from slide_deploy.images.labels import labels_named
    from slide_deploy.images.prediction import predict as guess
    from slide_deploy.parsing import parse_size
    from slide_deploy.terminal.console import stdout, table

    listed = [Path(labels)] if labels else []
    outputs = Outputs({"--json": json_to}, inputs=[file, *images, *listed])
    size = None if image_size is None else parse_size(image_size, "--image-size")
    opened = open_image_file(file)
    names = None if labels is None else labels_named(labels)
    session = opened.session
    guesses = guess(opened, images, names, top, size, output)
    outputs.write("--json", lambda: json.dumps([asdict(row) for row in guesses], indent=2) + "\n")
    if not outputs.quiet:
        columns = [("picture", False), ("class", False), ("share", True)]
        grid = table(f"on {session.runtime}", columns)
        for row in guesses:
            grid.add_row(escape(row.image), escape(row.name), f"{row.probability:.1%}")
        stdout().print(grid)
        if len(session.outputs) > 1:
            say(f"output: {guesses[0].output}")
        say(f"pictures: {guesses[0].prepared}")
    outputs.finish()


def _refuse_exchanged(file: Path, against: Path | None) -> None:
    """Refuse a checkpoint where the written file belongs, and the other way round.

    Raises:
        InputError: if so.
    """
    from slide_deploy.formats import suffixes

    written = suffixes()
    known = ", ".join(written)
    is_written = [path is not None and path.suffix.lower() in written for path in (file, against)]
    if is_written == [False, True]:
        raise InputError(
            f"{file} and {against} are exchanged: give verify {against} --against {file}."
        )
    if is_written == [True, True]:
        raise InputError(
            f"--against {against} is a written file: name the checkpoint that {file} was exported "
            f"from."
        )
    if file.suffix.lower() in _CHECKPOINTS:
        raise InputError(
            f"{file} is a checkpoint: name the written file first, one that ends in {known}."
        )


def _describe_parting(parting: "Divergence") -> str:
    if parting.first_wrong is None:
        return f"layers: all {parting.layers} agree"
    after = f"; the last that agrees is {parting.last_right}" if parting.last_right else ""
    return f"layers: the first that disagrees is {parting.first_wrong}{after}"
