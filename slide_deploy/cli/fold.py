"""The command ``fold``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.certificates import print_branches, print_certificate, print_origin
from slide_deploy.cli.options import ForceOption, JsonOption, QuietOption
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
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write, .safetensors.")],
    force: ForceOption = False,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Fold a network and write the folded weights, with a certificate of the fold."""
    source.require()
    if output.exists() and not force:
        raise InputError(f"{output} exists: give --force to replace it, or another --output.")
    require("torch", "all")
    from slide_deploy.deployable.save import require_suffix, save_folded
    from slide_deploy.terminal.progress import Steps

    require_suffix(output)
    outputs = Outputs({"--output": output, "--json": json_to}, quiet, source.files)
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
