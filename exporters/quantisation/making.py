"""A file in any precision: written by the exporter, or made of a file in float32."""

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
    """One file that is made of a file in float32, and can be made again with other operators kept.

    Attributes:
        exporter: of the format.
        precision: of the file.
        source: the file in float32, which is written.
        target: the file to make.
        examples: inputs on which ranges are measured, as the file takes them; none where the
            precision needs none.
        kept: names of operators that stay as they are in any case.
    """

    exporter: Exporter
    precision: Precision
    source: Path
    target: Path
    examples: Examples
    kept: tuple[str, ...] = ()

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators that are quantised if none is kept, in the order of the file."""
        return self._plan(()).operators

    def _plan(self, kept: Collection[str]) -> QuantisationPlan:
        chosen: Collection[Family] | Literal["all"] | None = None
        if not self.precision.is_quantised:
            chosen = ALL
        elif not self.precision.is_calibrated:
            # Weights that are stored in 8 bits and computed with in floats cost no time anywhere.
            chosen = set(Family) - {Family.ATTENTION}
        kept = {*self.kept, *kept}
        return plan_for(self.source, self.exporter.record, self.examples, kept=kept, chosen=chosen)

    def make(self, kept: Collection[str] = ()) -> QuantisationPlan:
        """Make the file, in the place of one that is there, and say what was quantised.

        Args:
            kept: names of further operators of the file in float32 that stay as they are.

        Raises:
            InputError: if nothing is left to quantise, or the library refuses the file.
        """
        record = self.exporter.record
        plan = self._plan(kept)
        if not plan.operators:
            raise InputError(
                f"{self.exporter.format} has nothing to write in {self.precision.name}: no weight "
                f"is large enough, so choose another --precision."
            )
        for path in self.exporter.paths(self.target.with_suffix("")):
            if path.exists():
                remove(path)  # and not written over: a runtime may still read it
        module = import_module(record.quantiser)
        quantise: Callable[[Path, Path, QuantisationPlan], None] = getattr(
            module, self.precision.made_by
        )
        try:
            with interruption.unswallowed(), quiet():
                quantise(self.source, self.target, plan)
        except (SlideDeployError, OSError):
            raise
        except Exception as error:  # libraries of quantisation raise any type
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
            raise InputError(
                f"{self.target.name} could not be made in {self.precision.name} ({reason}): choose "
                f"another --precision for {self.exporter.format}."
            ) from error
        return plan


def is_made(format: Format, precision: Precision) -> bool:
    """Whether files of a precision are made of others, by the quantiser of their format."""
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
        exporter: of the format.
        request: what to write.
        path: where to.
        cases: on which the file is going to be proved; float16 is kept from what overflows there.
        calibration: for precisions that measure ranges.
        progress: told when ranges are measured.

    Returns:
        How it was made of another file, to make it again; None if the exporter wrote it.

    Raises:
        InputError: if the format cannot hold the network in that precision.
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
    """Write the file that one in some precision is made of, in a folder beside it.

    Raises:
        InputError: if the format cannot hold the network.
    """
    wanted = exporter.record.made_of if precision.is_quantised else FLOAT32.name
    folder = path.parent / wanted
    folder.mkdir(exist_ok=True)
    source = folder / path.name
    exporter.write(replace(request, precision=wanted), source)
    return source


def inputs_of(path: Path, request: ExportRequest, cases: Sequence[Case]) -> Iterator[Feeds]:
    """The inputs of some cases, as a file takes them; those of examples one by one."""
    session = open_file(path)
    for case in cases:
        for feeds in case.parts():
            yield feeds_of(session, request.deployable, feeds)
