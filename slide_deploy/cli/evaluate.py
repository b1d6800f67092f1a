"""The command ``evaluate``: accuracy of files on labelled images."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slide_deploy.cli.options import JsonOption, LabelsOption, OutputOption, QuietOption
from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source
from slide_deploy.cli.source_options import against_source
from slide_deploy.errors import InputError
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from slide_deploy.evaluation.record import Record
    from slide_deploy.evaluation.run import Wanted

# Same value as in slide_deploy.evaluation.run, which --help must not import.
_BATCH = 8
# Parameters that are allowed together with --merge.
_WITH_MERGE = {"merge", "files", "max_drop", "quiet", "json_to"}


@against_source("Checkpoint that the files were exported from.")
def evaluate(
    context: typer.Context,
    source: Source,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Model files; with --merge, results of shards.", metavar="FILE", show_default=False
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Pictures: a folder with one folder for each class, or a CSV file of path,label.",
            metavar="DIR|CSV",
        ),
    ] = None,
    labels: LabelsOption = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="Exit 1 if a file loses more percentage points of top-1 against the trained "
            "network, or against the first file.",
            metavar="POINTS",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            min=1, help="Evaluate on so many pictures of --data, drawn at random, not on all."
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of --sample: another number draws other pictures."),
    ] = 0,
    batch: Annotated[
        int, typer.Option(min=1, help="Pictures in one call, for files whose batch size is open.")
    ] = _BATCH,
    shard: Annotated[
        str | None,
        typer.Option(
            help="Evaluate one part of the data only: 3/16 is the third of sixteen.", metavar="3/16"
        ),
    ] = None,
    merge: Annotated[
        bool,
        typer.Option("--merge", help="Join the results of all shards, which are given as FILE."),
    ] = False,
    output: OutputOption = None,
    quiet: QuietOption = False,
    json_to: JsonOption = None,
) -> None:
    """Measure the accuracy of files on labelled pictures, and whether the files differ.

    Top-1, top-5 and agreement with the trained network have intervals. Files are compared with the
    network, or with the first file, picture by picture. Exit code 1 if --max-drop is exceeded.
    """
    from slide_deploy.evaluation.gate import require_limit
    from slide_deploy.evaluation.result_file import encode

    if max_drop is not None:
        require_limit(max_drop)
    given = files or []
    read = [*given, *source.files, *([Path(labels)] if labels else [])]
    read += [data] if data is not None and os.path.isfile(data) else []
    outputs = Outputs({"--json": json_to}, quiet, read)
    if merge:
        _refuse_with_merge(context)
        record = _merged(given)
    else:
        wanted = _wanted(source, labels, batch, sample, seed, shard)
        record = _evaluated(given, source, data, wanted, output, max_drop, outputs.quiet)
    if max_drop is not None:
        from slide_deploy.evaluation.gate import require_gated

        require_gated(record)
    outputs.write("--json", lambda: encode(record))
    if not outputs.quiet:
        _show(record)
    failed = _judge(record, max_drop, outputs.quiet)
    outputs.finish()
    if failed:
        raise typer.Exit(1)


def _refuse_with_merge(context: typer.Context) -> None:
    """Refuse options that --merge would ignore."""
    for each in context.command.params:
        given_by = context.get_parameter_source(each.name or "")
        is_given = given_by is not None and given_by.name == "COMMANDLINE"
        if is_given and each.name not in _WITH_MERGE:
            raise InputError(f"--merge only joins results: leave out {each.opts[0]}.")


def _merged(paths: list[Path]) -> "Record":
    from slide_deploy.evaluation.merging import merge
    from slide_deploy.evaluation.result_file import read

    for path in paths:
        if paths.count(path) > 1:
            raise InputError(f"{path} is given twice: give the result of each shard once.")
    return merge({str(path): read(path) for path in paths})


def _wanted(
    source: Source,
    labels: str | None,
    batch: int,
    sample: int | None,
    seed: int,
    shard: str | None,
) -> "Wanted":
    from slide_deploy.evaluation.run import Wanted
    from slide_deploy.evaluation.sharding import WHOLE, Shard
    from slide_deploy.images.labels import labels_named

    return Wanted(
        names=labels_named(labels) if labels else (),
        batch=batch,
        sample=sample,
        seed=seed,
        shard=WHOLE if shard is None else Shard.parse(shard),
        trained=source.checkpoint is not None or source.model is not None,
    )


def _evaluated(
    files: list[Path],
    source: Source,
    data: Path | None,
    wanted: "Wanted",
    output: str | None,
    max_drop: float | None,
    quiet: bool,
) -> "Record":
    from slide_deploy.evaluation.classifier import names_of, open_classifier
    from slide_deploy.evaluation.gate import require_comparison, require_use
    from slide_deploy.evaluation.run import evaluate as run
    from slide_deploy.evaluation.run import picture_count
    from slide_deploy.images.collection import read_collection
    from slide_deploy.parsing import parse_size
    from slide_deploy.terminal.progress import Counted, Steps

    _require_network(source, files)
    if data is None:
        raise InputError("No pictures: give a folder with one folder for each class as --data.")
    collection = read_collection(data)
    # What could show nothing is refused before hours of work.
    require_use(collection, len(files) + wanted.trained)
    if max_drop is not None:
        count = len(files) + wanted.trained
        require_comparison(collection.has_labels, count, wanted.shard.count)
    size = None if source.image_size is None else parse_size(source.image_size, "--image-size")
    opened = []
    with Steps(quiet, len(files) + 1) as step:
        for path, name in zip(files, names_of(files), strict=True):
            step(f"open {path}")
            opened.append(open_classifier(path, name, size, output))
        if wanted.trained:
            step(f"load {source.title}")
            trained = source.load(dynamic_batch=source.model is None)

            from slide_deploy.evaluation.trained import trained_classifier

            opened.insert(0, trained_classifier(trained, output))
    with Counted(quiet, picture_count(opened, collection, wanted), "pictures") as done:
        return run(opened, collection, wanted, done)


def _require_network(source: Source, files: list[Path]) -> None:
    """Refuse options that do not name exactly one network, and mixed-up files and checkpoints."""
    from dataclasses import replace

    from slide_deploy.evaluation.classifier import refuse_as_network
    from slide_deploy.files.model_files import is_checkpoint_name

    for path in files:
        if is_checkpoint_name(path):
            raise InputError(f"{path} is a checkpoint: give it with --against.")
    if source.checkpoint is not None:
        refuse_as_network(source.checkpoint)
    # --image-size also applies to files with an open image size.
    if replace(source, image_size=None) != Source():
        source.require("the checkpoint with --against")
    elif not files:
        raise InputError("Nothing to evaluate: give files, or the trained network with --against.")


def _show(record: "Record") -> None:
    from slide_deploy.evaluation.shown import evaluation_table, remarks
    from slide_deploy.terminal.console import stdout

    stdout().print(evaluation_table(record))
    for remark in remarks(record):
        echo(f"note: {remark}")


def _judge(record: "Record", max_drop: float | None, quiet: bool) -> bool:
    """Compare a record with the limit and print failures; return whether a file fails."""
    if max_drop is None:
        return False
    from slide_deploy.evaluation.gate import failures, gate_warnings

    failed = failures(record, max_drop)
    for sentence in failed:
        echo(f"slide-deploy: {sentence}.", err=True)
    if not quiet:
        for warning in gate_warnings(record, max_drop):
            echo(f"note: {warning}")
    return bool(failed)
