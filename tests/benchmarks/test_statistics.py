import numpy as np
import pytest
from scipy import stats

from benchmarks.statistics import (
    Estimate,
    Interval,
    noise_of_equals,
    paired_ratio,
    percentile,
    unpaired_ratio,
    widened,
)

RUNS = 1000
# 95 % of 1,000 runs: the count scatters by 0.7 %, so that 92 to 98 % is 4 deviations.
COVERED = (0.92, 0.98)


def coverage(estimates, truth: float) -> tuple[float, int]:
    """Return the share of the intervals that contain the true value, and their number."""
    given = [each for each in estimates if each is not None]
    held = [each.interval.low <= truth <= each.interval.high for each in given]
    return float(np.mean(held)), len(given)


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_intervals_of_percentiles_cover_independent_calls(share):
    draw = np.random.default_rng(1)
    truth = stats.lognorm.ppf(share, 0.1)
    share_covered, given = coverage(
        (percentile(draw.lognormal(0, 0.1, (20, 100)), share) for _ in range(RUNS)), truth
    )
    assert COVERED[0] <= share_covered <= COVERED[1]
    assert given > 0.9 * RUNS


def test_intervals_of_the_median_cover_calls_that_share_their_round():
    draw = np.random.default_rng(2)
    share_covered, given = coverage(
        (
            percentile(draw.lognormal(0, 0.1, (20, 50)) * draw.lognormal(0, 0.1, (20, 1)), 0.5)
            for _ in range(RUNS)
        ),
        1.0,
    )
    assert COVERED[0] <= share_covered <= COVERED[1]
    assert given == RUNS


def test_intervals_that_assume_independent_calls_would_not_cover():
    draw = np.random.default_rng(2)
    share_covered, _ = coverage(
        (
            percentile(
                # shuffled, so that rounds have no information
                draw.permutation(
                    (draw.lognormal(0, 0.1, (20, 50)) * draw.lognormal(0, 0.1, (20, 1))).ravel()
                ).reshape(20, 50),
                0.5,
            )
            for _ in range(300)
        ),
        1.0,
    )
    assert share_covered < 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    "pair", [paired_ratio, pytest.param(unpaired_ratio, marks=pytest.mark.slow)]
)
def test_intervals_of_ratios_cover(pair):
    draw = np.random.default_rng(3)

    def rounds(level):
        # A machine whose speed differs from round to round, the same for both if paired.
        return level * draw.lognormal(0, 0.05, (20, 15))

    def both():
        drift = draw.lognormal(0, 0.2, (20, 1))
        other = drift if pair is paired_ratio else draw.lognormal(0, 0.2, (20, 1))
        return pair(rounds(1.1) * drift, rounds(1.0) * other)

    share_covered, given = coverage((both() for _ in range(RUNS)), 1.1)
    assert COVERED[0] <= share_covered <= COVERED[1]
    assert given == RUNS


def test_pairing_removes_the_drift_of_the_machine():
    draw = np.random.default_rng(4)
    drift = draw.lognormal(0, 0.2, (20, 1))
    slow, fast = 1.1 * drift * np.ones((20, 5)), drift * np.ones((20, 5))
    paired, unpaired = paired_ratio(slow, fast), unpaired_ratio(slow, fast)
    assert paired.value == pytest.approx(1.1)
    assert paired.half_width < 1e-9 < 0.05 < unpaired.half_width


def test_small_samples_have_no_percentile():
    draw = np.random.default_rng(5)
    assert percentile(draw.normal(10, 1, (20, 10)), 0.99) is None  # 200 calls, of 368
    assert percentile(draw.normal(10, 1, (20, 200)), 0.99) is not None
    assert percentile([], 0.5) is None
    assert percentile([[1.0]], 0.5) is None
    assert percentile([[1.0, 2.0]] * 3, 0.5) is None


def test_a_tail_from_a_single_round_has_no_percentile():
    rounds = np.random.default_rng(6).normal(10, 0.1, (20, 100))
    rounds[7] *= 2  # 5 % of all calls, all of them in one round
    assert percentile(rounds, 0.99) is None
    assert percentile(rounds, 0.5) is not None


def test_a_ratio_needs_six_rounds():
    assert paired_ratio([[1.0]] * 5, [[1.0]] * 5) is None
    assert paired_ratio([[3.0]] * 6, [[2.0]] * 9).value == pytest.approx(1.5)


def test_noise_widens_in_quadrature():
    wide = widened(Estimate(1.0, Interval(np.exp(-0.03), np.exp(0.03))), np.exp(0.04))
    assert np.log([wide.interval.low, wide.interval.high]) == pytest.approx([-0.05, 0.05])


@pytest.mark.slow
def test_95_percent_of_the_ratios_of_equals_lie_within_the_noise():
    draw = np.random.default_rng(7)
    inside = []
    for _ in range(RUNS):
        levels = draw.normal(0, 0.02, 8)
        shared = draw.normal(0, 0.3, 20)
        candidates = np.exp(
            levels[:, None, None] + shared[:, None] + draw.normal(0, 1e-4, (8, 20, 3))
        )
        noise = noise_of_equals(candidates[:6])
        inside.append(abs(levels[6] - levels[7]) <= np.log(noise))
    assert COVERED[0] <= np.mean(inside) <= COVERED[1]
