from dataclasses import replace

import pytest

from benchmarks.compare import Verdict, failed, gate, nothing_compared
from benchmarks.record import Configuration
from tests.benchmarks.synthetic import measurement, run


def gated(first, second, **more):
    (found,) = gate(replace(run([first, second]), **{"noise": None, **more}), 0.05)
    return found


@pytest.mark.parametrize(("milliseconds", "expected"), [(12.0, "worse"), (8.0, "better")])
def test_a_slower_candidate_fails_the_gate(milliseconds, expected):
    found = gated(measurement("a"), measurement("b", milliseconds=milliseconds))
    assert found.verdict == expected
    assert found.ratio.value == pytest.approx(milliseconds / 10, rel=0.03)
    assert failed([found]) == (expected == "worse")


def test_a_difference_within_the_noise_passes_the_gate():
    found = gated(measurement("a"), measurement("b", milliseconds=12.0), noise=1.3)
    assert found.verdict is Verdict.unclear
    assert not failed([found])


def test_batches_are_compared_per_image():
    eight = measurement("b", milliseconds=80.0, configuration=Configuration(batch=8))
    assert gated(measurement("a"), eight).ratio.value == pytest.approx(1.0, rel=0.03)


def test_streams_are_not_compared():
    two = measurement("b", configuration=Configuration(streams=2))
    assert gated(measurement("a"), two).verdict is Verdict.unclear


def test_a_failed_candidate_fails_the_gate():
    assert failed([gated(measurement("a"), measurement("b", error="it fell over"))])


def test_a_gate_that_compared_nothing_is_reported():
    short = measurement("b")
    short = replace(short, rounds=short.rounds[:2])
    found = gated(measurement("a"), short)
    assert found.ratio is None
    assert nothing_compared([found])
    assert nothing_compared([])
    assert not nothing_compared([found, gated(measurement("a"), measurement("c"))])
    assert not nothing_compared([gated(measurement("a"), measurement("b", error="it fell over"))])
