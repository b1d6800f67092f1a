"""Compares a network's quantised files with the format's default, and prints a table."""

from dataclasses import dataclass
from statistics import median

from benchmarks.generated_page import Grid, ratio_cells
from benchmarks.record import Measurement, Run
from benchmarks.statistics import Estimate, paired_ratio
from slide_deploy.errors import InputError
from slide_deploy.terminal.console import figures, texts
from studies.quantisation.record import DEFAULT, FLOAT32, QuantisedVariant, WrittenFamily

# A family is worth its rounding error if the whole interval of its ratio lies below this.
PAYS = 0.98
# Differences below this are within the scatter of the noise.
SAME_DB = 1.0


@dataclass(frozen=True)
class FamilyRow:
    """One file.

    Attributes:
        variant: The file.
        seconds: Median seconds per call; None if it does not run.
        to_float32: Its time / time of the float32 file; None if it does not run.
        to_default: Its time / time of the default file; None if it does not run.
        verdict: A clause on the comparison.
    """

    variant: QuantisedVariant
    seconds: float | None = None
    to_float32: Estimate | None = None
    to_default: Estimate | None = None
    verdict: str = ""

    @property
    def is_better(self) -> bool:
        """Whether these families should be the default: certainly faster, and as accurate."""
        return self.verdict == "better"


def rows(written: WrittenFamily, run: Run) -> tuple[FamilyRow, ...]:
    """Return a row for each file, in their order.

    Raises:
        InputError: The float32 file or the default was not raced.
    """
    default = written.named(DEFAULT)
    return tuple(_row(each, default, run) for each in written.variants)


def _row(variant: QuantisedVariant, default: QuantisedVariant, run: Run) -> FamilyRow:
    if not variant.is_raced:
        return FamilyRow(variant, verdict=variant.fault)
    ours = _measurement(run, variant.name)
    if ours.error or not ours.rounds:
        return FamilyRow(variant, verdict=ours.error or "not raced")
    over = {
        name: paired_ratio(ours.samples, _measurement(run, name).samples)
        for name in (FLOAT32, DEFAULT)
    }
    if None in over.values():
        raise InputError(f"{FLOAT32} or {DEFAULT} was raced too few times: race them again.")
    return FamilyRow(
        variant,
        median(ours.pooled_samples) / 1e9,
        over[FLOAT32],
        over[DEFAULT],
        _verdict(variant, default, over[DEFAULT]),
    )


def _measurement(run: Run, name: str) -> Measurement:
    for each in run.measurements:
        if each.candidate.name == name:
            return each
    raise InputError(f"{name} was not raced: remove --no-race.")


def _verdict(
    variant: QuantisedVariant, default: QuantisedVariant, to_default: Estimate | None
) -> str:
    """Return the verdict on a file that runs, compared with the default."""
    if variant.fault:
        return variant.fault
    if variant.name in (FLOAT32, DEFAULT) or to_default is None:
        return ""
    interval = to_default.interval
    worse = default.snr_db[0] - variant.snr_db[0]
    if interval.high < PAYS:
        return "better" if worse <= SAME_DB else f"faster, {worse:.1f} dB worse"
    return "slower" if interval.low > 1 / PAYS else "no gain"


def table(written: WrittenFamily, found: tuple[FamilyRow, ...]) -> Grid:
    """Return a table of all files of a format."""
    ratios = ("/ float32", "from", "to", "/ default", "from", "to")
    columns = figures("operators", "ms", *ratios, "size / float32", "dB")
    whole = written.named(FLOAT32).size
    default = ", ".join(written.named(DEFAULT).families)
    return Grid(
        f"{written.network} on {written.target}",
        (*texts("in int8"), *columns, *texts("")),
        tuple(_cells(each, whole) for each in found),
        f"The default is {default}. Times are ratios of medians, paired by round, with 95 % "
        f"intervals. dB is the signal-to-noise ratio on held-out examples, after removing the mean "
        f"output. Better: the whole interval lies below {PAYS} of the default's time, and the "
        f"signal-to-noise ratio is at most {SAME_DB:g} dB lower.",
    )


def _cells(row: FamilyRow, whole: int) -> tuple[str, ...]:
    variant = row.variant
    return (
        variant.name,
        str(variant.operators or ""),
        "–" if row.seconds is None else f"{row.seconds * 1e3:.1f}",
        *ratio_cells(row.to_float32, missing="–"),
        *ratio_cells(row.to_default, missing="–"),
        f"{variant.size / whole:.2f}" if variant.size else "",
        f"{variant.snr_db[0]:.1f}" if variant.snr_db else "–",
        row.verdict,
    )
