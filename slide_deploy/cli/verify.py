"""The commands ``verify`` and ``predict``, which run a file."""

from pathlib import Path
from typing import Annotated

import typer

from slide_deploy.cli.completion import all_targets
from slide_deploy.cli.options import (
    CalibrationOption,
    JsonOption,
    LabelsOption,
    OutputOption,
    PrecisionOption,
    QuietOption,
)
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source
from slide_deploy.cli.source_options import against_source
from slide_deploy.cli.verify_two import conclude, precision_line, verify_two
from slide_deploy.errors import InputError
from slide_deploy.formats import find_format, suffixes
from slide_deploy.terminal.printable import echo

_CHECKPOINTS = (".pth", ".pt", ".safetensors")


@against_source("Checkpoint that the file was exported from, or another file to compare it with.")
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

    With another file after --against, the outputs of that file are the true ones; --input gives
    sizes that both files leave open. Without either, the file is compared with the reference
    outputs that its export left beside it.
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
        _verify_by_reference(file, target, quiet, json_to)
        return
    _refuse_swapped(file, source.checkpoint)
    if source.checkpoint is not None and find_format(source.checkpoint) is not None:
        chosen = None if precision is None else precision.value
        verify_two(file, source, chosen, calibration, target, locate, quiet, json_to)
        return
    from slide_deploy.backends import open_file
    from slide_deploy.models.host_network import are_features
    from slide_deploy.tasks.proofs import examples_to_prove, precision_to_prove
    from slide_deploy.terminal.progress import Steps

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

        from slide_deploy.verification.verify import locate as find_divergence
        from slide_deploy.verification.verify import names_another_origin, verify_file

        step(f"run on {session.runtime} and compare with {source.title} in float64")
        cases, remarks = examples_to_prove(file, trained, record, calibration)
        result = verify_file(file, trained, record.name, cases, target)
        foreign = names_another_origin(file, trained)
        divergence = None
        if locate:
            step("compare layer by layer")
            divergence = find_divergence(file, trained, record.name)
    report = {
        "precision": record.name,
        "target": target,
        "verification": result,
        "locate": divergence,
        "names_another_source": foreign,
    }
    other = f"the metadata of {file.name} names other weights as its source"
    notes = (*trained.origin.remarks, *remarks, *([other] if foreign else []))
    lines = (precision_line(record, precision), *(f"note: {note}" for note in notes))
    conclude(outputs, file, title, result, report, lines, divergence)


def _verify_by_reference(file: Path, target: str | None, quiet: bool, json_to: Path | None) -> None:
    from slide_deploy.verification.reference_outputs.checking import (
        reference_beside,
        verify_by_reference,
    )
    from slide_deploy.verification.reference_outputs.reference_file import reference_path

    outputs = Outputs({"--json": json_to}, quiet, [file, reference_path(file)])
    reference = reference_beside(file)
    result = verify_by_reference(file, reference, target)
    report = {"precision": reference.precision, "target": target, "verification": result}
    line = f"precision: {reference.precision}, from {reference_path(file).name}"
    conclude(outputs, file, "its reference outputs", result, report, [line])


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
    output: OutputOption = None,
    json_to: JsonOption = None,
) -> None:
    """Name the most probable classes of pictures.

    The file's metadata determines the preprocessing: raw pixels, or normalisation with its mean and
    deviation. Without metadata, those of ImageNet are used.
    """
    from rich.markup import escape

    from exporters.plain import to_json
    from slide_deploy.backends import open_image_file
    from slide_deploy.images.labels import labels_named
    from slide_deploy.images.prediction import predict as guess
    from slide_deploy.parsing import parse_size
    from slide_deploy.terminal.console import figures, stdout, table, texts

    listed = [Path(labels)] if labels else []
    outputs = Outputs({"--json": json_to}, inputs=[file, *images, *listed])
    size = None if image_size is None else parse_size(image_size, "--image-size")
    opened = open_image_file(file)
    names = None if labels is None else labels_named(labels)
    session = opened.session
    guesses = guess(opened, images, names, top, size, output)
    outputs.write("--json", lambda: to_json(guesses))
    if not outputs.quiet:
        columns = [*texts("picture", "class"), *figures("share")]
        rows = ((escape(row.image), escape(row.name), f"{row.probability:.1%}") for row in guesses)
        stdout().print(table(f"on {session.runtime}", columns, rows))
        if len(session.outputs) > 1:
            echo(f"output: {guesses[0].output}")
        echo(f"pictures: {guesses[0].prepared}")
    outputs.finish()


def _refuse_swapped(file: Path, against: Path | None) -> None:
    """Refuse a checkpoint in place of the exported file, and vice versa.

    Raises:
        InputError: a path is of the wrong kind.
    """
    written = suffixes()
    known = ", ".join(written)
    is_written = [path is not None and path.suffix.lower() in written for path in (file, against)]
    if is_written == [False, True]:
        raise InputError(
            f"{file} and {against} are swapped: give verify {against} --against {file}."
        )
    if file.suffix.lower() in _CHECKPOINTS:
        raise InputError(
            f"{file} is a checkpoint: give an exported file first, one that ends in {known}."
        )
