"""Writes a file in any precision: with the exporter, or by quantising another file."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Literal

from exporters.base import Exporter, ExportRequest, quiet
from exporters.quantisation.examples import Calibration, Examples, Feeds
from exporters.quantisation.families import Family
from exporters.quantisation.overflow import overflowing
from exporters.quantisation.plan import ALL, QuantisationPlan, plan_for
from slide_deploy.backends import open_file
from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.files.moves import remove
from slide_deploy.formats import Format
from slide_deploy.precisions import FLOAT32, Precision, precision_named
from slide_deploy.process import interruption
from slide_deploy.terminal.progress import expect
from slide_deploy.verification.cases import Case
from slide_deploy.verification.verify import feeds_of


@dataclass(frozen=True)
class Making:
    """How one file is made from another; it can be made again with more operators kept in float.

    Attributes:
        exporter: exporter of the format.
        precision: precision of the file to make.
        source: path of the existing file, in float32 or the format's ``made_of``.
        target: path of the file to make.
        examples: inputs of the file for measuring ranges; empty if the precision needs none.
        kept: names of operators that are never converted.
    """

    exporter: Exporter
    precision: Precision
    source: Path
    target: Path
    examples: Examples
    kept: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators to convert if no further one is kept, in the order of the file."""
        return self._plan(()).operators

    def _plan(self, kept: Collection[str]) -> QuantisationPlan:
        chosen: Collection[Family] | Literal["all"] | None = None
        if not self.precision.is_quantised:
            chosen = ALL
        elif not self.precision.is_calibrated:
            # 8-bit weights that are expanded to floats do not slow down any family.
            chosen = set(Family) - {Family.ATTENTION}
        kept = {*self.kept, *kept}
        return plan_for(self.source, self.exporter.record, self.examples, kept=kept, chosen=chosen)

    def make(self, kept: Collection[str] = ()) -> QuantisationPlan:
        """Make the file, replacing an existing one.

        Args:
            kept: names of further operators of the source that are not converted.

        Returns:
            What was converted.

        Raises:
            InputError: if no operator is left to convert, or the library fails.
        """
        record = self.exporter.record
        plan = self._plan(kept)
        if not plan.operators:
            raise InputError(
                f"The {self.exporter.format} file has no weight that is large enough for "
                f"{self.precision.name}: choose another --precision."
            )
        for path in self.exporter.paths(self.target.with_suffix("")):
            if path.exists():
                remove(path)  # do not overwrite it: a runtime may still map it
        module = import_module(record.quantiser)
        quantise: Callable[[Path, Path, QuantisationPlan], None] = getattr(
            module, self.precision.made_by
        )
        try:
            with interruption.unswallowed(), quiet():
                quantise(self.source, self.target, plan)
        except (SlideDeployError, OSError):
            raise
        except Exception as error:  # quantisation libraries raise any type
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(
                f"{self.target.name} could not be made in {self.precision.name} ({reason}): choose "
                f"another --precision for {self.exporter.format}."
            ) from error
        return plan


def is_made(format: Format, precision: Precision) -> bool:
    """Return whether files of a precision are made by the format's quantiser."""
    if not format.quantiser or not precision.made_by:
        return False
    return hasattr(import_module(format.quantiser), precision.made_by)


def write(
    exporter: Exporter,
    request: ExportRequest,
    path: Path,
    cases: Sequence[Case],
    calibration: Calibration | None = None,
    progress: Callable[[str], None] = lambda step: None,
) -> Making | None:
    """Write a file in the precision of a request.

    Args:
        exporter: exporter of the format.
        request: what to write.
        path: path of the file.
        cases: inputs to verify on. In float16, operators that overflow on them stay in float32.
        calibration: calibration set, for precisions that need one.
        progress: called when ranges are measured.

    Returns:
        How the file was made, so that it can be made again; None if the exporter wrote it.

    Raises:
        InputError: if the format cannot express the network in this precision.
    """
    precision = precision_named(request.precision)
    if not is_made(exporter.record, precision):
        exporter.write(request, path)
        return None
    source = write_source(exporter, request, path, precision)
    examples = Examples(0, lambda place: {})
    if calibration is not None and precision.is_calibrated:
        expect(progress, 1)
        progress(f"measure ranges of {exporter.format} on {len(calibration.measured)} examples")
        session = open_file(source)
        examples = calibration.measured.mapped(
            lambda feeds: feeds_of(session, request.deployable, feeds)
        )
    kept: tuple[str, ...] = ()
    if not precision.is_quantised:
        kept = overflowing(source, inputs_of(source, request, cases))
    making = Making(exporter, precision, source, path, examples, kept)
    making.make()
    return making


def write_source(
    exporter: Exporter, request: ExportRequest, path: Path, precision: Precision
) -> Path:
    """Write the source of a quantised file, in a folder beside it.

    Raises:
        InputError: if the format cannot express the network.
    """
    wanted = exporter.record.made_of if precision.is_quantised else FLOAT32.name
    folder = path.parent / wanted
    folder.mkdir(exist_ok=True)
    source = folder / path.name
    exporter.write(replace(request, precision=wanted), source)
    return source


def inputs_of(path: Path, request: ExportRequest, cases: Sequence[Case]) -> Iterator[Feeds]:
    """Yield the inputs of cases in the form that a file takes; batched examples one by one."""
    session = open_file(path)
    for case in cases:
        for feeds in case.parts():
            yield feeds_of(session, request.deployable, feeds)
