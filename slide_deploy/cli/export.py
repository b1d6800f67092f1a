"""The command ``export``."""

from pathlib import Path
from textwrap import fill
from typing import Annotated

import typer

from slide_deploy.cli.certificates import print_branches, print_certificate, print_origin
from slide_deploy.cli.completion import formats as complete_formats
from slide_deploy.cli.completion import one_of
from slide_deploy.cli.options import (
    DEFAULT_PRECISION,
    CalibrationOption,
    DataOption,
    DeviationOption,
    EmbedOption,
    ForceOption,
    JsonOption,
    LabelsOption,
    LayoutOption,
    LoweringOption,
    MaxDropOption,
    MeanOption,
    OrderOption,
    PolicyOption,
    PrecisionOption,
    QuietOption,
    VerifyOnOption,
)
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source
from slide_deploy.cli.source_options import takes_source
from slide_deploy.formats import format_names, known_formats
from slide_deploy.precisions import known_precisions
from slide_deploy.presets import preset_names
from slide_deploy.tasks.options import read_lowering, require_bench
from slide_deploy.terminal.printable import echo


@takes_source
def export(
    source: Source,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help=f"{', '.join(format_names())}: one, several with commas, or all.",
            metavar="FORMAT",
            autocompletion=complete_formats,
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder to write into.")] = Path("exported"),
    preset: Annotated[
        str | None,
        typer.Option(
            help=f"Options for a kind of machine: {', '.join(preset_names())}. Other options "
            "override it.",
            metavar="NAME",
            autocompletion=one_of(preset_names()),
        ),
    ] = None,
    dynamic_batch: Annotated[
        bool | None,
        typer.Option("--dynamic-batch/--no-dynamic-batch", help="Leave the batch size open."),
    ] = None,
    precision: Annotated[
        PrecisionOption | None,
        typer.Option(
            help=" ".join(f"{each.name}: {each.meaning}." for each in known_precisions())
            + f" {DEFAULT_PRECISION} if left out.",
            case_sensitive=False,
        ),
    ] = None,
    delegate: Annotated[
        str | None,
        typer.Option(
            help="Library that runs parts of the file: "
            + "; ".join(
                f"{', '.join(one.name for one in each.delegates)} for {each.name}"
                for each in known_formats()
                if each.delegates
            )
            + ". The first if left out.",
            metavar="NAME",
            autocompletion=one_of(
                tuple(one.name for each in known_formats() for one in each.delegates)
            ),
        ),
    ] = None,
    calibration: CalibrationOption = None,
    max_drop: MaxDropOption = None,
    data: DataOption = None,
    lowering: LoweringOption = None,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="First race the forms of each attention on this machine, about a minute each.",
        ),
    ] = False,
    features: Annotated[
        bool,
        typer.Option(
            "--features", help="Output the feature maps of all stages instead of the logits."
        ),
    ] = False,
    embed_preprocessing: EmbedOption = None,
    mean: MeanOption = None,
    deviation: DeviationOption = None,
    input_layout: LayoutOption = None,
    channel_order: OrderOption = None,
    labels: LabelsOption = None,
    softmax: Annotated[
        bool, typer.Option("--softmax", help="Output probabilities instead of logits.")
    ] = False,
    force: ForceOption = False,
    keep_failed: Annotated[
        bool, typer.Option("--keep-failed", help="Keep a file that fails verification.")
    ] = False,
    unproven: Annotated[
        bool,
        typer.Option("--unproven", help="Write a file that nothing here can run, unchecked."),
    ] = False,
    verify_on: VerifyOnOption = None,
    policy: PolicyOption = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="List what each pass changed in the network, and what it left."
        ),
    ] = False,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Fold a network, write it in other formats and prove each file.

    Every file is read back from disk and run on its own runtime. Its outputs are compared with the
    trained model in float64. A file that disagrees is removed, and the exit code is 1. With
    --max-drop, layers of an int8 file return to float, the worst first, until it loses no more.

    A network that another --image-size would change is refused, unless --keep-windows or
    --resize-position-tables is given.
    """
    from exporters.base import exporter_for, require_targets
    from exporters.explained import explanation, rewrite_lines
    from exporters.shown import file_lines
    from slide_deploy.files.publishing import refuse_occupied, require_names
    from slide_deploy.graph_checks import named_policy
    from slide_deploy.images.description import parse_channels
    from slide_deploy.images.labels import labels_named
    from slide_deploy.tasks.choices import GivenOptions, chosen
    from slide_deploy.terminal.console import stdout, verification_table
    from slide_deploy.terminal.progress import Steps

    read = [*source.files, *(each for each in (calibration, data) if each is not None)]
    outputs = Outputs({"--json": json_to}, quiet, read)
    source.require()
    choices = chosen(
        GivenOptions(
            preset=preset,
            to=to or (),
            precision=None if precision is None else precision.value,
            delegate=delegate,
            lowering=lowering,
            tune=tune,
            dynamic_batch=dynamic_batch,
            embed_preprocessing=embed_preprocessing,
            mean=parse_channels(mean, "--mean"),
            deviation=parse_channels(deviation, "--deviation"),
            input_layout=input_layout,
            channel_order=channel_order,
        )
    )
    formats = choices.formats
    names = labels_named(labels) if labels else ()
    exporters = [exporter_for(format, delegate) for format in formats]
    for exporter in exporters:
        exporter.require(choices.precision)
    require_targets(exporters, verify_on or ())
    how = read_lowering(choices.lowering)
    if tune:
        require_bench()
    published = [
        path
        for exporter in exporters
        if source.stem
        for path in exporter.published(out / source.stem)
    ]
    require_names(out, [path.name for path in published])
    refuse_occupied(published, force)
    rules = None if policy is None else named_policy(policy)
    with Steps(outputs.quiet, 3 + 2 * len(formats) + (calibration is not None)) as step:
        step(f"load {source.title}")
        trained = source.load(features=features, dynamic_batch=choices.dynamic_batch)

        unraced: tuple[str, ...] = ()
        if tune:
            from slide_deploy.tasks.tune_first import tune_first

            unraced = tune_first(trained, formats, choices.precision, step)

        from exporters.outcome import ExportOptions
        from exporters.pipeline import export as run_export

        options = ExportOptions(
            formats=formats,
            out=out,
            lowering=how,
            precision=choices.precision,
            policy=rules,
            force=force,
            keep_failed=keep_failed,
            preprocessing=choices.preprocessing,
            labels=names,
            softmax=softmax,
            calibration=calibration,
            max_drop=max_drop,
            data=data,
            delegate=delegate,
            unproven=unproven,
            verify_on=tuple(verify_on or ()),
        )
        result = run_export(trained, options, step)
    outputs.write("--json", result.manifest.read_text)
    if not outputs.quiet:
        console = stdout()
        print_origin(trained)
        print_certificate(result.certificate)
        print_branches(
            result.certificate, "Branches that the files merge into one convolution each"
        )
        console.print(
            verification_table(
                f"Verification against {trained.truth}",
                [(file.format, each) for file in result.files for each in file.verifications],
            )
        )
        if any(file.verification.runtime == "mil-interpreter" for file in result.files):
            echo(
                "Core ML itself needs macOS: the package was read back and run by the MIL "
                "interpreter of slide-deploy."
            )
        for remark in (*result.remarks[len(trained.origin.remarks) :], *unraced):
            echo(f"note: {remark}")
        lines = [
            *file_lines(result.files),
            *(() if explain else rewrite_lines(result.files, "--explain")),
        ]
        for line in lines:
            echo(fill(line, console.width, subsequent_indent="  "))
        if explain:
            echo(explanation(result.files, console.width))
        for file in result.files:
            if file.paths:
                echo(f"written: {file.paths[0]} ({file.size / 1e6:.1f} MB)")
        echo(f"written: {result.manifest}")
    for problem in result.problems:
        echo(f"slide-deploy: {problem}", err=True)
    outputs.finish()
    raise typer.Exit(0 if result.passed else 1)
