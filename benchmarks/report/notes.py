"""Notes beside the figures: time and settings of the measurement, warnings, failures."""

from collections.abc import Iterator
from datetime import datetime

from benchmarks.record import Measurement
from benchmarks.report.machines import Machines
from benchmarks.report.series import OperatorBars
from benchmarks.report.summary import CandidateRow, RunView
from benchmarks.report.table import without_noise
from benchmarks.report.text import Name, Sentence
from benchmarks.report.units import byte_unit, time_text
from slide_deploy.terminal.printable import counted


def about(view: RunView) -> Sentence:
    """Return one line on the run as a whole."""
    run = view.run
    calls = sum(len(row.samples) for row in view.rows)
    return (
        f"Started {_time(run.started)}, {run.seconds:g} s per candidate, {calls:,} samples; "
        f"slide-deploy ",
        Name(run.tool),
        ".",
    )


def _time(started: str) -> str:
    try:
        time = datetime.fromisoformat(started)
    except ValueError:
        return "at an unknown time"
    return f"{time:%Y-%m-%d %H:%M} UTC"


def on_machines(table: Machines) -> Iterator[Sentence]:
    """Yield notes on how to read the table of several machines."""
    yield ("Medians in milliseconds, with 95% intervals.",)
    for name in table.differing:
        yield (Name(name), ": the machines ran different files of this name.")


def warning_sentences(view: RunView) -> Iterator[Sentence]:
    """Yield every warning, those about the whole run first."""
    if view.run.interrupted:
        yield ("The run was interrupted: some candidates have fewer samples than requested.",)
    for row in view.rows:
        for warning in row.warnings:
            yield (Name(row.name), f": {warning}")


def noise(view: RunView) -> str:
    """Return a sentence on the difference between equal candidates; empty if not calibrated."""
    if view.run.noise is None:
        return ""
    return (
        f"Equal candidates differ by up to {view.run.noise - 1:.1%} on this machine: smaller "
        f"differences are noise."
    )


def settings(row: CandidateRow) -> Iterator[tuple[str, str]]:
    """Yield the settings of one candidate as pairs: our word, and a text from the record."""
    measurement = row.measurement
    candidate, artifact, warm_up = measurement.candidate, measurement.artifact, measurement.warm_up
    yield "file", candidate.path
    if artifact:
        yield "size", byte_unit([artifact.size]).text(artifact.size)
        yield "sha256", artifact.sha256[:16]
        if artifact.accuracy is not None:
            yield "accuracy", _accuracy(artifact.accuracy, artifact.accuracy_interval)
        if artifact.published_accuracy is not None:
            yield "accuracy, as published", f"{artifact.published_accuracy:.1%}"
        if artifact.calibration:
            yield "calibrated on", artifact.calibration
    yield "precision", candidate.configuration.precision
    yield "proof", _proof(measurement)
    if candidate.configuration.pinned:
        yield "pinned to processors", ", ".join(map(str, candidate.configuration.pinned))
    for tensor in measurement.inputs:
        yield f"input {tensor.name}", f"{tensor.dtype} {'x'.join(map(str, tensor.shape))}"
    if measurement.cold:
        for stage, seconds in measurement.cold.stages.items():
            yield f"cold start, {stage}", time_text(seconds)
    if warm_up:
        yield "warm-up", f"{warm_up.calls} calls, {time_text(warm_up.seconds)}"
    if measurement.repetitions > 1:
        yield "calls per sample", f"{measurement.repetitions:,}"
    yield from candidate.configuration.environment.items()
    yield from candidate.configuration.options.items()
    yield from measurement.runtime.items()


def _accuracy(share: float, interval: tuple[float, float] | None) -> str:
    if interval is None:
        return f"{share:.1%}"
    return f"{share:.2%} (95 %: {interval[0]:.2%} to {interval[1]:.2%})"


def _proof(measurement: Measurement) -> str:
    proof = measurement.proof
    if proof is None:
        return "none: the file has no reference outputs for these sizes"
    cases = counted(proof.cases, "case")
    if proof.snr_db is None:
        worst = "" if proof.relative == 0 else " at worst"
        return f"{without_noise(proof)}{worst} in {cases}"
    return f"error of {proof.relative:.1e} and {proof.snr_db:.0f} dB at worst in {cases}"


def operator_rows(bars: OperatorBars) -> Iterator[tuple[str, float]]:
    """Yield the label and the seconds of each bar, and of the remaining types last."""
    for kind in bars.bars:
        yield f"{kind.name} · {kind.count:,}", kind.seconds
    if bars.others:
        yield f"{bars.others} other type{'s' if bars.others > 1 else ''}", bars.others_seconds
