"""The options of an export, and its result."""

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
    """The options of an export.

    Attributes:
        formats: names of formats, each once.
        out: output folder; created if missing.
        lowering: lowering of the slide attentions: one for all, or a function that returns the
            choice for each file.
        precision: name of a precision, see ``slide_deploy.precisions``.
        policy: policy that the files must pass; None for the built-in one.
        force: replace existing files.
        keep_failed: publish a file that fails verification.
        preprocessing: how pixels become the network's input, and whether files do it.
        labels: class names to store in the files; may be empty.
        softmax: whether files output probabilities instead of logits.
        calibration: a folder of images or a ``.npz`` file, for calibrated precisions.
        max_drop: percentage points of top-1 accuracy that a quantised file may lose; None for no
            limit.
        data: labelled images for ``max_drop``; None for the calibration images that are not used
            to measure ranges.
        delegate: library that runs parts of the files, for formats with a choice of delegates.
        unproven: write files that no runtime here can run, without verification.
        verify_on: names of further targets to verify each file on.
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
    """The result of one format.

    Attributes:
        format: name of the format.
        paths: the written files; empty if the file failed and was removed.
        sha256: hash of each path, in the same order.
        lowerings: lowering of each slide attention, by its name.
        rewrites: report of each pass, in order.
        size: size of all paths in bytes.
        operators: number of occurrences of each operator, the most frequent first.
        violations: violations of the policy.
        verification: the verdict on the file's outputs.
        seconds: time for writing and verifying.
        preprocessing: where the arithmetic on pixels went, a sentence without a full stop; empty
            if the caller normalises images.
        precision: name of the precision, see ``slide_deploy.precisions``.
        price: the accuracy that the file loses; None without ``max_drop``.
        kept: names of the operators of a float16 file that stay in float32.
        wrong_at: name of the first operator of a failed float16 file whose values are wrong.
        unproven: why no runtime here could run the file, as a clause; empty if it was verified.
        reference: path of the reference outputs beside the file; None if they are too large or the
            file was removed.
        verified_on: the verdict on each further target of ``verify_on``, by name.
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
        """Whether outputs agree, the accuracy loss is within its limit and no rule is broken."""
        is_cheap = self.price is None or self.price.passed
        return all(each.passed for each in self.verifications) and is_cheap and self.is_valid

    @property
    def is_valid(self) -> bool:
        """Whether the file has no violation with the severity "error"."""
        return not any(violation.severity == "error" for violation in self.violations)

    @property
    def is_kept(self) -> bool:
        """Whether the file is published: it passed, or is unproven on request and valid."""
        return self.passed or (bool(self.unproven) and self.is_valid)

    @property
    def verifications(self) -> tuple[Verification, ...]:
        """The verdicts on all targets, the format's own target first."""
        return (self.verification, *self.verified_on.values())


@dataclass(frozen=True, repr=False)
class ExportResult:
    """The result of an export. Its ``repr`` is the table of the command line.

    Attributes:
        certificate: certificate of the fold.
        files: one file for each format, in the requested order.
        manifest: path of the manifest, which links the network, its certificate and the files.
        network: the path of the checkpoint, or the class of the module.
        remarks: remarks for the user, sentences without a full stop.
    """

    certificate: Certificate
    files: tuple[ExportedFile, ...]
    manifest: Path
    network: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every file passed or is unproven on request."""
        return all(file.is_kept for file in self.files)

    @property
    def paths(self) -> dict[str, Path]:
        """The path of each model file by format, without files that were removed."""
        return {file.format: file.paths[0] for file in self.files if file.paths}

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong with the files, one sentence each; empty if all passed without warning."""
        return tuple(problem for file in self.files for problem in _problems(file, self.network))

    def file(self, format: str) -> ExportedFile:
        """Return the result of one format.

        Raises:
            InputError: if the format was not exported.
        """
        for file in self.files:
            if file.format == format:
                return file
        known = ", ".join(file.format for file in self.files)
        raise InputError(f"{format} was not exported: there is {known}.")

    def raise_if_failed(self) -> None:
        """Raise if a file failed.

        Raises:
            CheckFailed: if a file failed; the message says what is wrong.
        """
        if not self.passed:
            sentences = (problem[:1].upper() + problem[1:] for problem in self.problems)
            raise CheckFailed(" ".join(sentences))

    def explain(self) -> str:
        """Return what each pass changed for each format, and what it refused with the reason.

        Equal changes are grouped, with the names of the first layers. ``rewrites`` of the files
        has all of them.
        """
        from exporters.explained import explanation
        from slide_deploy.terminal.console import NARROW

        return explanation(self.files, NARROW)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON-compatible data, including every verdict."""
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
            f"the {file.format} file is unproven: {file.unproven}; verify it on a device that runs "
            f"it before you use it."
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
    """Return the error of a quantised file and its limits, in brackets; empty for others."""
    if not precision_named(file.precision).is_quantised:
        return ""
    worst, limit = file.verification.worst, file.verification.limit
    if math.isnan(worst.snr_db):
        return " (its outputs are not finite, or have another shape)"
    return (
        f" (SNR {worst.snr_db:.1f} dB, error {worst.max_relative:.0%} of the largest value; "
        f"{limit.snr_db:g} dB and {limit.relative:.0%} are allowed)"
    )


def _advice(file: ExportedFile) -> str:
    """Return advice for a failed quantised file, a sentence after a space."""
    if not precision_named(file.precision).is_calibrated:
        return ""
    if file.price is not None:
        return " Give other calibration images, or choose another --precision."
    return (
        " Give --max-drop, so that the worst layers return to float, or give more calibration "
        "images that are typical for the network."
    )
