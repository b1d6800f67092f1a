"""Warnings about measurements whose figures may mislead."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from benchmarks.record import Measurement, Round
from benchmarks.statistics import LEAST_ROUNDS, percentile

# Changes of the latency above this share are reported.
WORTH_TELLING = 0.05
# Throttling shows as one lasting step by this factor or more.
THROTTLED = 1.10
# Splitting one normal distribution in two explains 2/π = 64 % of its variance, a uniform one 75 %.
TWO_MODES_EXPLAIN, SMALLER_MODE, APART = 0.85, 0.05, 1.10
SPIKE = 2.0


def warnings_of(measurement: Measurement) -> tuple[str, ...]:
    """Return one sentence for each warning."""
    drift = _time_line(measurement.rounds, "over the run")
    found = [
        _warm_up(measurement),
        drift,
        _time_line(measurement.sustained, "without rests"),
        # A drift alone spreads the samples and widens the interval.
        None if drift else _few(measurement),
        None if drift else _shape(measurement.rounds),
    ]
    return tuple(sentence for sentence in found if sentence)


def _warm_up(measurement: Measurement) -> str | None:
    warm = measurement.warm_up
    if warm is None or warm.stable:
        return None
    return f"the latency was not steady after {warm.calls} calls in {warm.seconds:.1f} s of warm-up"


def _few(measurement: Measurement) -> str | None:
    if measurement.error or not measurement.rounds:
        return None
    median = percentile(measurement.samples, 0.5)
    if median is None:
        return f"{len(measurement.rounds)} rounds are too few for an interval"
    if not median.half_width <= WORTH_TELLING:
        return f"the median is known only to ±{median.half_width:.0%}: measure longer (--seconds)"
    return None


def _time_line(rounds: Sequence[Round], when: str) -> str | None:
    """Warn if the latency changed during the measurement, in one step or gradually."""
    if len(rounds) < LEAST_ROUNDS:
        return None
    times = np.array([round.start for round in rounds])
    logs = np.log([np.median(round.samples) for round in rounds])
    slope, offset, low, high = stats.theilslopes(logs, times)
    left_by_line = float(np.var(logs - slope * times - offset))
    ratio, at, left = _step(times, logs)
    # It counts as throttling if the step leaves less than half the variance of a straight line.
    if ratio >= THROTTLED and left < left_by_line / 2:
        return (
            f"it became {ratio:.2f} times slower after {at:.0f} s {when}, and stayed so: "
            f"the processor may be throttling"
        )
    length = times[-1] - times[0]
    change, *bounds = np.expm1(np.array([slope, low, high]) * length)
    if abs(change) > WORTH_TELLING and (bounds[0] > 0 or bounds[1] < 0):
        word = "slower" if change > 0 else "faster"
        return (
            f"it became {abs(change):.0%} {word} {when} ({length:.0f} s; between "
            f"{min(map(abs, bounds)):.0%} and {max(map(abs, bounds)):.0%})"
        )
    return None


def _step(times: np.ndarray, logs: np.ndarray) -> tuple[float, float, float]:
    """Split a time line of six rounds or more in two, so that most of the variance is explained.

    Returns:
        Median after the split divided by the median before, seconds from the first round to the
        split, and the remaining variance of the logarithms. At least three rounds lie on a side.
    """

    def left(at: int) -> float:
        return float((np.var(logs[:at]) * at + np.var(logs[at:]) * (len(logs) - at)) / len(logs))

    best = min(range(3, len(logs) - 2), key=left)
    ratio = float(np.exp(np.median(logs[best:]) - np.median(logs[:best])))
    return ratio, float(times[best] - times[0]), left(best)


def _shape(rounds: Sequence[Round]) -> str | None:
    """Warn if the samples form two groups, or if some take far longer than the rest."""
    samples = np.sort([sample for round in rounds for sample in round.samples])
    if len(samples) < 20:
        return None
    split = _two_modes(np.log(samples))
    if split is not None:
        low, high = np.median(samples[:split]), np.median(samples[split:])
        return (
            f"calls form two groups: {split / len(samples):.0%} take about {low / 1e6:.3g} ms, "
            f"the others {high / 1e6:.3g} ms; the median describes only one group"
        )
    spikes = int(np.count_nonzero(samples > SPIKE * np.median(samples)))
    if spikes >= 3 and spikes / len(samples) >= 0.001:
        return f"{spikes / len(samples):.1%} of the calls take more than twice the median"
    return None


def _two_modes(logs: np.ndarray) -> int | None:
    """Return the index that splits sorted values into two groups, or None if they form one.

    Otsu's criterion: the split that explains most of the variance ("A threshold selection method
    from gray-level histograms", IEEE Trans. SMC 9, 1979).
    """
    count = len(logs)
    sizes = np.arange(1, count)
    sums = np.cumsum(logs)[:-1]
    means = sums / sizes, (logs.sum() - sums) / (count - sizes)
    between = sizes * (count - sizes) / count**2 * (means[1] - means[0]) ** 2
    split = int(np.argmax(between)) + 1
    total = float(np.var(logs))
    smaller = min(split, count - split) / count
    apart = np.exp(np.median(logs[split:]) - np.median(logs[:split]))
    if total == 0 or between[split - 1] < TWO_MODES_EXPLAIN * total:
        return None
    return split if smaller >= SMALLER_MODE and apart >= APART else None
