"""A file in any precision: written by the exporter, or made of a file in float32."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from exporters.base import Exporter, ExportRequest
from exporters.publishing import remove
from exporters.quantisation.calibration import Calibration, Examples
from exporters.quantisation.families import Family
from exporters.quantisation.plan import Plan, plan_for
from exporters.quiet import quiet
from slide_deploy import interruption
from slide_deploy.errors import InputError, SlideDeployError
from slide_deploy.precisions import FLOAT32, Precision, precision_named
from slide_deploy.runtimes import open_file
from slide_deploy.verification import feeds_of


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
    """

    exporter: Exporter
    precision: Precision
    source: Path
    target: Path
    examples: Examples

    @property
    def operators(self) -> tuple[str, ...]:
        """Names of the operators that are quantised if none is kept, in the order of the file."""
        return self._plan(()).operators

    def _plan(self, kept: Collection[str]) -> Plan:
        # Weights that are stored in 8 bits and computed with in floats cost no time anywhere.
        chosen = None if self.precision.is_calibrated else set(Family) - {Family.ATTENTION}
        record = self.exporter.record
        return plan_for(self.source, record, self.examples, kept=kept, chosen=chosen)

    def make(self, kept: Collection[str] = ()) -> Plan:
        """Make the file, in the place of one that is there, and say what was quantised.

        Args:
            kept: names of operators of the file in float32 that stay as they are.

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
        quantise: Callable[[Path, Path, Plan], None] = getattr(module, self.precision.made_by)
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


def write(
    exporter: Exporter, request: ExportRequest, path: Path, calibration: Calibration | None
) -> Making | None:
    """Write a file in the precision of a request.

    Args:
        exporter: of the format.
        request: what to write.
        path: where to.
        calibration: for precisions that measure ranges.

    Returns:
        How it was made of a file in float32, to make it again; None if the exporter wrote it.

    Raises:
        InputError: if the format cannot hold the network in that precision.
    """
    precision = precision_named(request.precision)
    if not precision.made_by:
        exporter.write(request, path)
        return None
    folder = path.parent / FLOAT32.name
    folder.mkdir(exist_ok=True)
    source = folder / path.name
    exporter.write(replace(request, precision=FLOAT32.name), source)
    examples = Examples(0, lambda place: {})
    if calibration is not None:
        session = open_file(source)
        examples = calibration.measured.mapped(
            lambda feeds: feeds_of(session, request.deployable, feeds)
        )
    making = Making(exporter, precision, source, path, examples)
    making.make()
    return making
