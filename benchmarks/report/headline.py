"""The fastest candidate on each target, with its lead and the interval of that lead."""

from collections.abc import Iterator

from benchmarks.report.summary import CandidateRow, Group, RunView, typical
from benchmarks.report.text import Name, Sentence
from benchmarks.report.units import ratio_text, time_text
from benchmarks.statistics import Estimate, paired_ratio


def headlines(view: RunView) -> Iterator[tuple[Group, Sentence]]:
    """Yield each group and its outcome, in the order of the candidates."""
    for group in view.groups:
        yield group, _outcome(group, view)


def _outcome(group: Group, view: RunView) -> Sentence:
    whole = [row for row in group.rows if row.samples and not row.measurement.error]
    ranked = sorted(whole, key=lambda row: typical(row) or 0)
    if not ranked:
        return ("No candidate was measured.",)
    best = ranked[0]
    if len(ranked) == 1:
        alone: Sentence = (Name(best.name), f" takes {_call(best)}; no other candidate ran here.")
        return (*alone, *_against_baseline(best, None, view))
    compared = _compared(best, ranked[1], view.run.noise or 1.0)
    return (*compared, *_against_baseline(best, ranked[1], view))


def _compared(best: CandidateRow, second: CandidateRow, noise: float) -> Sentence:
    ratio = paired_ratio(second.measurement.samples_per_image, best.measurement.samples_per_image)
    if ratio is None:
        return (
            Name(best.name),
            f" has the lowest median, {_call(best)}, but too few samples to compare with ",
            Name(second.name),
            ".",
        )
    figures = f"{ratio_text(ratio.value)} times as long (95% interval {_interval(ratio)})"
    # With NaN, this comparison counts as unclear.
    if not (ratio.interval.low > 1 and ratio.value > noise):
        known = f"; equal files differ by up to {noise - 1:.0%} here" if noise > 1 else ""
        return (
            Name(best.name),
            " and ",
            Name(second.name),
            f" are equally fast within the error: the second takes {figures}{known}.",
        )
    return (
        Name(best.name),
        f" is fastest with {_call(best)}: the next, ",
        Name(second.name),
        f", takes {figures}.",
    )


def _against_baseline(best: CandidateRow, second: CandidateRow | None, view: RunView) -> Sentence:
    """Compare the best candidate with the first one, unless the headline already does."""
    base = view.baseline
    if base is None or base in (best, second) or not isinstance(best.ratio, Estimate):
        return ()
    gain = _inverse(best.ratio)
    long = "as long" if base.batch == best.batch else "as long per image"
    figures = f"{ratio_text(gain.value)} times {long} ({_interval(gain)})"
    return (" The first candidate, ", Name(base.name), f", takes {figures}.")


def _inverse(ratio: Estimate) -> Estimate:
    interval = type(ratio.interval)(1 / ratio.interval.high, 1 / ratio.interval.low)
    return Estimate(1 / ratio.value, interval)


def _interval(ratio: Estimate) -> str:
    return f"{ratio_text(ratio.interval.low)} to {ratio_text(ratio.interval.high)}"


def _call(row: CandidateRow) -> str:
    return f"{time_text(typical(row) or 0.0)} per call"
