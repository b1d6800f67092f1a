"""Reasons not to take a measurement at face value, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from benchmarks.record import Measurement, Round
from benchmarks.statistics import LEAST_ROUNDS, percentile

# What a reader would want to know of: a change of more than this.
WORTH_TELLING = 0.05
# A drop of speed that lasts, in one step, is what throttling looks like.
THROTTLED = 1.10
# Splitting one normal distribution in two explains 2/π = 64 % of its variance, a uniform one 75 %.
TWO_MODES_EXPLAIN, SMALLER_MODE, APART = 0.85, 0.05, 1.10
SPIKE = 2.0


@dataclass(frozen=True)
class _Step:
    """The split of a time line into before and after that explains most.

    Attributes:
        ratio: median after over median before.
        at: seconds after its begin.
        left: variance that it leaves, of the logarithms.
    """

    ratio: float
    at: float
    left: float


def warnings_of(measurement: Measurement) -> tuple[str, ...]:
    """Sentences; none if there is nothing to warning."""
    drift = _time_line(measurement.rounds, "over the run")
    found = [
        _warm_up(measurement),
        drift,
        _time_line(measurement.sustained, "without rests"),
        # A drift spreads the samples and widens the interval by itself.
        None if drift else _few(measurement),
        None if drift else _shape(measurement.rounds),
    ]
    return tuple(sentence for sentence in found if sentence)


def _warm_up(measurement: Measurement) -> str | None:
    warm = measurement.warm_up
    if warm is None or warm.stable:
        return None
    return (
        f"the latency had not settled after {warm.calls} calls in {warm.seconds:.1f} s of warm-up"
    )


def _few(measurement: Measurement) -> str | None:
    if measurement.error or not measurement.rounds:
        return None
    median = percentile(measurement.samples, 0.5)
    if median is None:
        return f"{len(measurement.rounds)} rounds are too few for an interval"
    if not median.half_width <= WORTH_TELLING:
        return f"the median is known to ±{median.half_width:.0%} only: give it more --seconds"
    return None


def _time_line(rounds: Sequence[Round], when: str) -> str | None:
    """Whether the latency changed while it was measured: in one step, or little by little."""
    if len(rounds) < LEAST_ROUNDS:
        return None
    times = np.array([round.start for round in rounds])
    logs = np.log([np.median(round.samples) for round in rounds])
    slope, offset, low, high = stats.theilslopes(logs, times)
    left_by_line = float(np.var(logs - slope * times - offset))
    step = _step(times, logs)
    # A step that throttles leaves less than half of what a straight line leaves.
    if step and step.ratio >= THROTTLED and step.left < left_by_line / 2:
        return (
            f"it became {step.ratio:.2f} times slower after {step.at:.0f} s {when}, and stayed so: "
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


def _step(times: np.ndarray, logs: np.ndarray) -> _Step | None:
    """The best split that leaves three rounds at least on either side."""
    splits = range(3, len(logs) - 2)
    if not splits:
        return None

    def left(at: int) -> float:
        return float((np.var(logs[:at]) * at + np.var(logs[at:]) * (len(logs) - at)) / len(logs))

    best = min(splits, key=left)
    ratio = float(np.exp(np.median(logs[best:]) - np.median(logs[:best])))
    return _Step(ratio, float(times[best] - times[0]), left(best))


def _shape(rounds: Sequence[Round]) -> str | None:
    """Whether the samples are of two kinds, or some take far longer than the rest."""
    samples = np.sort([sample for round in rounds for sample in round.samples])
    if len(samples) < 20:
        return None
    split = _two_modes(np.log(samples))
    if split is not None:
        low, high = np.median(samples[:split]), np.median(samples[split:])
        return (
            f"calls are of two kinds: {split / len(samples):.0%} take about {low / 1e6:.3g} ms, "
            f"the others {high / 1e6:.3g} ms; the median stands for one of them"
        )
    spikes = int(np.count_nonzero(samples > SPIKE * np.median(samples)))
    if spikes >= 3 and spikes / len(samples) >= 0.001:
        return f"{spikes / len(samples):.1%} of the calls take more than twice the median"
    return None


def _two_modes(logs: np.ndarray) -> int | None:
    """Where sorted values fall into two groups, by Otsu's criterion; None if they are one.

    Otsu, "A threshold selection method from gray-level histograms", IEEE Trans. SMC 9, 1979: the
    split that explains most of the variance.
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
