"""Ratios of files that are raced in several processes."""

import numpy as np
import pytest

from studies.passes.levels import Levels

NAMES = ("one", "two", "three", "four")


def raced(random: np.random.Generator, between: float, races: int = 3) -> Levels:
    """Return races of files of 1, 1.02, 1 and 1 ms, with scatter of processes and rounds."""
    found = []
    for _ in range(races):
        speeds = random.uniform(1, 3, 8)
        race = {}
        for name in NAMES:
            level = (1.02 if name == "two" else 1) * np.exp(between * random.standard_normal())
            scatter = np.exp(0.002 * random.standard_normal((8, 5)))
            race[name] = (1e6 * level * speeds[:, None] * scatter).tolist()
        found.append(race)
    return Levels(found)


def test_the_speed_of_a_round_does_not_matter() -> None:
    ratio = raced(np.random.default_rng(0), between=0.0).ratio("two", "one")
    assert ratio.value == pytest.approx(1.02, abs=0.003)
    assert ratio.interval.low < ratio.value < ratio.interval.high < ratio.interval.low + 0.01


@pytest.mark.parametrize("races", [2, 3])
def test_intervals_hold_for_other_processes(races: int) -> None:
    """Of 400 intervals of equal and unequal files, about 95 % contain the true ratio."""
    random = np.random.default_rng(1)
    held = []
    for _ in range(200):
        levels = raced(random, between=0.015, races=races)
        for over, truth in (("two", 1.02), ("three", 1.0)):
            interval = levels.ratio(over, "one").interval
            held.append(interval.low <= truth <= interval.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_swapping_the_files_inverts_the_ratio() -> None:
    levels = raced(np.random.default_rng(2), between=0.01)
    one, other = levels.ratio("two", "one"), levels.ratio("one", "two")
    assert one.value * other.value == pytest.approx(1)
    assert one.interval.low * other.interval.high == pytest.approx(1)
