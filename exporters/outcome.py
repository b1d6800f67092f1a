"""What an export is asked for, and what came of it."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exporters.plain import plain_dict
from exporters.price import Price
from slide_deploy.errors import CheckFailed, InputError
from slide_deploy.folding.model import Certificate
from slide_deploy.graph_checks import Policy, Violation
from slide_deploy.images.description import AS_TRAINED, Preprocessing
from slide_deploy.lowerings import DEFAULT_LOWERING, FileChooser, Lowering
from slide_deploy.passes.report import PassReport
from slide_deploy.precisions import precision_named
from slide_deploy.verification.parity import Verification


@dataclass(frozen=True)
class ExportOptions:
    """What to write and how.

    Attributes:
        formats: names of formats, each once.
        out: the folder to write into; made if missing.
        lowering: of the slide attentions: one for all, or a function that is asked for each file.
        precision: its name, see ``slide_deploy.precisions``.
        policy: rules that the files must keep; the built-in ones if None.
        force: replace files that exist.
        keep_failed: keep a file that fails verification, under its final name.
        preprocessing: how pixels become what the network takes, and whether the files do it.
        labels: name of each class, for the files to hold; may be empty.
        softmax: whether files answer probabilities in place of logits.
        calibration: a folder of pictures or a ``.npz`` file, for precisions that measure ranges.
        max_drop: percentage points of top-1 that a quantised file may lose; None for any number.
        data: pictures whose classes are known, on which that is measured; those for calibration if
            None, without those on which ranges are measured.
        delegate: library that runs parts of the files, for formats that have a choice of them.
        unproven: write a file that no runtime here can run; nobody has checked its answers then.
        verify_on: names of targets that verify each file that they run, besides the file's own.
    """

    formats: tuple[str, ...]
    out: Path
    lowering: Lowering | FileChooser = DEFAULT_LOWERING
    precision: str = "float32"
    policy: Policy | None = None
    force: bool = False
    keep_failed: bool = False
    preprocessing: Preprocessing = AS_TRAINED
    labels: tuple[str, ...] = ()
    softmax: bool = False
    calibration: Path | None = None
    max_drop: float | None = None
    data: Path | None = None
    delegate: str | None = None
    unproven: bool = False
    verify_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportedFile:
    """One format's outcome.

    Attributes:
        format: as the user named it.
        paths: what was written; empty where a file failed and was removed.
        sha256: of each path, in the same order.
        lowerings: of each slide attention, by its name.
        rewrites: what each pass did to the traced network, in the order of the passes.
        size: bytes of all of them.
        operators: how often each operator occurs, the most frequent first.
        violations: rules of the policy that it breaks.
        verification: the verdict on its answers.
        seconds: writing and verifying.
        preprocessing: what became of the arithmetic on pixels, a sentence without a full stop;
            empty where the caller does it.
        precision: its name, see ``slide_deploy.precisions``.
        price: what it loses of the network's top-1; None where that was not asked for.
        kept: names of the operators that stay in float32 in a file of float16.
        wrong_at: where a file of float16 fails: its first operator whose values are wrong.
        unproven: why nothing here could run the file, a clause; nobody has checked its answers.
        reference: the file of reference outputs beside it; None where they are too large, or the
            file was removed.
        verified_on: the verdict on its answers on each other target that was asked for, by name.
    """

    format: str
    paths: tuple[Path, ...]
    sha256: tuple[str, ...]
    lowerings: Mapping[str, Lowering]
    rewrites: tuple[PassReport, ...]
    size: int
    operators: tuple[tuple[str, int], ...]
    violations: tuple[Violation, ...]
    verification: Verification
    seconds: float
    preprocessing: str = ""
    precision: str = "float32"
    price: Price | None = None
    kept: tuple[str, ...] = ()
    wrong_at: str = ""
    unproven: str = ""
    reference: Path | None = None
    verified_on: Mapping[str, Verification] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the file answers as it must, loses no more than it may and breaks no rule."""
        is_cheap = self.price is None or self.price.passed
        return all(each.passed for each in self.verifications) and is_cheap and self.is_valid

    @property
    def is_valid(self) -> bool:
        """Whether it breaks no rule of the policy."""
        return not any(violation.severity == "error" for violation in self.violations)

    @property
    def is_kept(self) -> bool:
        """Whether it is published: it passed, or the user takes it unproven and no rule objects."""
        return self.passed or (bool(self.unproven) and self.is_valid)

    @property
    def verifications(self) -> tuple[Verification, ...]:
        """The verdicts on its answers, that of its own target first."""
        return (self.verification, *self.verified_on.values())


@dataclass(frozen=True, repr=False)
class ExportResult:
    """The outcome of an export: plain data, which prints as a table.

    Attributes:
        certificate: of the fold.
        files: one for each format, in the order in which they were asked for.
        manifest: the file that binds the network, its certificate and the written files.
        network: what was exported: the path of a checkpoint, or the class of a module.
        remarks: what a user should know of it, sentences without a full stop.
    """

    certificate: Certificate
    files: tuple[ExportedFile, ...]
    manifest: Path
    network: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every file is right, apart from those that the user takes unproven."""
        return all(file.is_kept for file in self.files)

    @property
    def paths(self) -> dict[str, Path]:
        """The file that other programs open, by its format; one that was removed is left out."""
        return {file.format: file.paths[0] for file in self.files if file.paths}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files, a sentence each; empty where all passed without warning."""
        return tuple(problem for file in self.files for problem in _problems(file, self.network))

    def file(self, format: str) -> ExportedFile:
        """What came of one format.

        Raises:
            InputError: if it was not asked for.
        """
        for file in self.files:
            if file.format == format:
                return file
        known = ", ".join(file.format for file in self.files)
        raise InputError(f"{format} was not exported: there is {known}.")

    def raise_if_failed(self) -> None:
        """Do nothing if every file is right.

        Raises:
            CheckFailed: if one is not; the text says what is wrong.
        """
        if not self.passed:
            sentences = (problem[:1].upper() + problem[1:] for problem in self.problems)
            raise CheckFailed(" ".join(sentences))

    def explain(self) -> str:
        """What each pass changed in the network for each format, and what it left with the reason.

        The same things together, the first layers by name; ``rewrites`` of the files has them all.
        """
        from exporters.explained import explanation
        from slide_deploy.terminal.console import NARROW

        return explanation(self.files, NARROW)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data that JSON can hold, with every verdict beside its figures."""
        content = plain_dict(self)
        content["certificate"]["status"] = self.certificate.status
        for file, entry in zip(self.files, content["files"], strict=True):
            entry["lowerings"] = {name: str(each) for name, each in file.lowerings.items()}
            entry["operators"] = dict(file.operators)
            entry["passed"] = file.passed
        return {"passed": self.passed, "problems": list(self.problems), **content}

    def __repr__(self) -> str:
        from exporters.shown import as_terminal

        return as_terminal(self)

    def _repr_html_(self) -> str:
        from exporters.shown import as_html

        return as_html(self)


def _problems(file: ExportedFile, network: str) -> Iterator[str]:
    fate = "kept on request" if file.paths else "removed"
    if file.unproven:
        yield (
            f"the {file.format} file is unproven: {file.unproven}; verify it where it runs, before "
            f"anybody relies on it."
        )
    elif not file.verification.passed:
        cases = f"{', '.join(file.verification.failures)}{_how_far(file)}"
        yield (
            f"the {file.format} file disagrees with {network} on: {cases}"
            f"{f', first at the operator {file.wrong_at}' if file.wrong_at else ''}; "
            f"it was {fate}.{_advice(file)}"
        )
    for target, verification in file.verified_on.items():
        if not verification.passed:
            cases = ", ".join(verification.failures)
            yield (
                f"the {file.format} file disagrees with {network} on {target} on: {cases}; "
                f"it was {fate}."
            )
    if file.price is not None and not file.price.passed:
        yield f"the {file.format} file {file.price.failure(network)}; it was {fate}."
    for violation in file.violations:
        yield (
            f"the {file.format} file breaks {violation.rule} at "
            f"{violation.node or 'the file'}: {violation.message} {violation.remedy}"
        )


def _how_far(file: ExportedFile) -> str:
    """How far answers of a quantised file are off, in brackets; its user can do something there."""
    if not precision_named(file.precision).is_quantised:
        return ""
    worst, limit = file.verification.worst, file.verification.limit
    if math.isnan(worst.snr_db):
        return " (its answers are no numbers, or have another shape)"
    return (
        f" (SNR {worst.snr_db:.1f} dB, error {worst.max_relative:.0%} of the largest value; "
        f"{limit.snr_db:g} dB and {limit.relative:.0%} are allowed)"
    )


def _advice(file: ExportedFile) -> str:
    """What may mend a quantised file, a sentence with a space in front."""
    if not precision_named(file.precision).is_calibrated:
        return ""
    if file.price is not None:
        return " Give other calibration pictures, or choose another --precision."
    return (
        " Give --max-drop, so that the worst layers return to float, or more calibration pictures "
        "such as the network will see."
    )
