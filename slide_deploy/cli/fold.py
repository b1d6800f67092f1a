"""The command ``fold``."""

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.certificates import print_branches, print_certificate, print_origin
from slide_deploy.cli.completion import formats as complete_formats
from slide_deploy.cli.options import ForceOption, JsonOption, LoweringOption, QuietOption
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source
from slide_deploy.cli.source_options import takes_source
from slide_deploy.errors import InputError
from slide_deploy.tasks.options import require
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from torch import nn

    from slide_deploy.deployable.record import Deployable
    from slide_deploy.folding.model import Certificate


@takes_source
def fold(
    source: Source,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="File to write: .safetensors; for an .onnx file .onnx or .xml."
        ),
    ],
    to: Annotated[
        str | None,
        typer.Option(
            help="Format of the output for an .onnx file; that of its name if left out.",
            metavar="FORMAT",
            autocompletion=complete_formats,
        ),
    ] = None,
    lowering: LoweringOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Fold a network and write the folded weights, with a certificate of the fold.

    A network that is an .onnx file is written as a file again, in the form of the attention that
    its runtime computes fastest, and verified against the input file. Without anything to fold, the
    output is a copy.
    """
    source.require()
    if output.exists() and not force:
        raise InputError(f"{output} exists: give --force to replace it, or another --output.")
    require("torch", "all")
    outputs = Outputs({"--output": output, "--json": json_to}, quiet, source.files)
    if source.is_onnx:
        _fold_file(source, output, to, lowering, force, outputs)
        return
    for option, given in (("--to", to), ("--lowering", lowering)):
        if given is not None:
            raise InputError(
                f"{option} applies to .onnx files: use export to write a checkpoint as a file."
            )
    from slide_deploy.deployable.save import require_suffix, save_folded
    from slide_deploy.terminal.progress import Steps

    require_suffix(output)
    with Steps(outputs.quiet, 4) as step:
        step(f"load {source.title}")
        trained = source.load(features=None)

        from exporters.plain import to_json
        from slide_deploy.folding.model import reparameterize

        step("fold")
        folded, certificate = reparameterize(trained.model)
        step(f"write {output.name}")
        save_folded(folded, trained, output)
        step("find branches that export merges")
        exported, remark = _as_exported(certificate, folded, trained)
    content = {
        "status": certificate.status,
        "certificate": certificate,
        "merged_by_export": {"merged": exported.merged, "not_merged": exported.not_merged},
    }
    outputs.write("--json", lambda: to_json(content))
    if not outputs.quiet:
        print_origin(trained)
        print_certificate(certificate)
        print_branches(exported, f"Branches in {output.name} that export merges")
        for line in remark:
            echo(f"note: {line}")
        echo(f"written: {output}")
    outputs.finish()


def _fold_file(
    source: Source,
    output: Path,
    to: str | None,
    lowering: str | None,
    force: bool,
    outputs: Outputs,
) -> None:
    """Fold an .onnx file, print the certificate, and exit with 1 if the new file is wrong."""
    from exporters.plain import to_json
    from exporters.shown import lowering_lines
    from slide_deploy.deployable.record import FILE_TRUTH
    from slide_deploy.tasks.fold_file import fold_file
    from slide_deploy.terminal.console import stdout, verification_table
    from slide_deploy.terminal.progress import Steps

    assert source.checkpoint is not None
    with Steps(outputs.quiet, 6) as step:
        result = fold_file(
            source.checkpoint,
            output,
            to=to,
            lowering=lowering,
            inputs=source.input or (),
            force=force,
            progress=step,
        )
    file = None if result.export is None else result.export.files[0]
    content = {
        "status": result.certificate.status,
        "is_unchanged": result.is_unchanged,
        "passed": result.passed,
        "certificate": result.certificate,
        "verification": None if file is None else file.verification,
        "lowerings": {} if file is None else {k: str(v) for k, v in file.lowerings.items()},
        "remarks": result.remarks,
    }
    outputs.write("--json", lambda: to_json(content))
    if not outputs.quiet:
        for remark in dict.fromkeys(result.remarks):
            echo(f"note: {remark}")
        print_certificate(result.certificate)
        print_branches(result.certificate, "Branches that became one convolution each")
        if file is not None:
            stdout().print(
                verification_table(
                    f"Verification against {FILE_TRUTH}",
                    [(file.format, each) for each in file.verifications],
                )
            )
            for line in lowering_lines(file):
                echo(fill(line, stdout().width, subsequent_indent="  "))
    if result.is_unchanged:
        echo(f"written: {output}, a copy of {source.title}: nothing in it can be folded")
    elif result.passed:
        echo(f"written: {output}")
    for problem in () if result.export is None else result.export.problems:
        echo(f"slide-deploy: {problem}", err=True)
    outputs.finish()
    if not result.passed:
        raise typer.Exit(1)


def _as_exported(
    certificate: "Certificate", folded: "nn.Module", trained: "Deployable"
) -> tuple["Certificate", tuple[str, ...]]:
    """Return the certificate that an export would give, or a remark why it is unknown."""
    from slide_deploy.folding.merging import merge_branches
    from slide_deploy.folding.model import with_branches

    try:
        given = trained.call.arguments(trained.examples)
        _, reports = merge_branches(folded, *given, any_size=False)
    except InputError as error:
        return certificate, (f"branches were not searched: {trained.origin.name} {error}",)
    return with_branches(certificate, reports), ()
