"""``verify A --against B`` for two files, and how a verdict is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from slide_deploy.cli.outputs import Outputs
from slide_deploy.cli.source import Source
from slide_deploy.errors import InputError
from slide_deploy.terminal.printable import echo

if TYPE_CHECKING:
    from slide_deploy.deployable.inputs import Input
    from slide_deploy.precisions import Precision
    from slide_deploy.verification.divergence import Divergence
    from slide_deploy.verification.parity import Verification


def verify_two(
    file: Path,
    source: Source,
    precision: str | None,
    calibration: Path | None,
    target: str | None,
    locate: bool,
    quiet: bool,
    json_to: Path | None,
) -> None:
    """Compare a file with another file, print the figures, and exit with code 1 if they differ.

    The other file is the checkpoint of ``source``. ``precision`` and ``target`` are those of the
    judged file; None means what its metadata and its format say. ``calibration`` is refused.

    Raises:
        InputError: a file or an option cannot be used.
    """
    from slide_deploy.tasks.proofs import precision_to_prove
    from slide_deploy.terminal.progress import Steps
    from slide_deploy.verification.two_files.verify import (
        locate_difference,
        open_two_files,
        verify_two_files,
    )

    against = source.checkpoint
    assert against is not None
    _refuse_options_of_networks(against, source, calibration)
    given = _given_inputs(source.input or ())
    outputs = Outputs({"--json": json_to}, quiet, [file, against])
    record = precision_to_prove(file, precision, target)
    divergence = None
    with Steps(outputs.quiet, 2 + locate) as step:
        step(f"open {file.name} and {against.name}")
        files = open_two_files(file, against, record.name, target, given)
        step(f"run both on {len(files.cases)} inputs")
        result = verify_two_files(files, record.name)
        if locate:
            step("compare value by value")
            divergence = locate_difference(files, result, record.name)
    truth = files.reference.session
    lines = (
        precision_line(record, precision),
        f"reference: {against} on {truth.runtime} {truth.version}",
    )
    report = {
        "precision": record.name,
        "target": target,
        "against": str(against),
        "verification": result,
        "locate": divergence,
    }
    conclude(outputs, file, str(against), result, report, lines, divergence)


def _refuse_options_of_networks(against: Path, source: Source, calibration: Path | None) -> None:
    """Refuse options that apply to a checkpoint or to a network of the user's own.

    Raises:
        InputError: one was given.
    """
    unset = Source(checkpoint=source.checkpoint, input=source.input, folder=source.folder)
    names = [each.name for each in fields(Source)]
    given = [name for name in names if getattr(source, name) != getattr(unset, name)]
    given += ["calibration"] if calibration is not None else []
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(
            f"--against {against} is a model file, and {options} applies to networks: leave it out."
        )


def _given_inputs(texts: Sequence[str]) -> "list[Input]":
    """Parse ``--input [NAME=]SIZES``; names may have any characters, as in foreign files.

    Raises:
        InputError: a text does not have this form.
    """
    import numpy as np

    from slide_deploy.deployable.input_text import InputText
    from slide_deploy.deployable.inputs import Input

    found = []
    for text in texts:
        name, _, sizes = text.rpartition("=")
        parsed = InputText.parse(sizes)
        if sizes.endswith(f":{parsed.dtype}"):
            raise InputError(f"--input {text} has a type, and the files have one: leave it out.")
        found.append(Input(name, np.zeros(parsed.shape), parsed.open))
    return found


def precision_line(record: "Precision", requested: str | None) -> str:
    """Return the line about the precision in which a file was judged."""
    claimed = ", as the file claims" if requested is None else ""
    return f"precision: {record.name}{claimed}: {record.meaning}"


def conclude(
    outputs: Outputs,
    file: Path,
    expected: str,
    result: "Verification",
    report: Mapping[str, Any],
    lines: Sequence[str],
    divergence: "Divergence | None" = None,
) -> None:
    """Write and print a verdict, and exit with code 1 if a case disagrees.

    ``expected`` names what the file was compared with. ``--json`` gets the report, and ``passed``.
    """
    from exporters.plain import to_json
    from slide_deploy.terminal.console import case_table, noise_line, noise_table, stdout

    outputs.write("--json", lambda: to_json({"passed": result.passed, **report}))
    if not outputs.quiet:
        stdout().print(case_table(result))
        for line in lines:
            echo(line)
        if divergence is not None:
            if divergence.noise:
                stdout().print(noise_table(divergence.noise))
                echo(noise_line(divergence.noise))
            echo(_described(divergence))
    if not result.passed:
        failures = ", ".join(result.failures)
        echo(f"slide-deploy: {file} disagrees with {expected} on: {failures}.", err=True)
    outputs.finish()
    if not result.passed:
        raise typer.Exit(1)


def _described(divergence: "Divergence") -> str:
    """Return a line that names the first layer or value that differs."""
    if divergence.first_wrong is None:
        return f"{divergence.searched}: all {divergence.layers} agree"
    after = f"; the last that agrees is {divergence.last_right}" if divergence.last_right else ""
    return f"{divergence.searched}: the first that disagrees is {divergence.first_wrong}{after}"
