"""Whole races, with processes, on known latencies."""

import _thread
import os
import threading
import time
from dataclasses import replace

import pytest

from benchmarks.measuring.race import RacePlan, race
from benchmarks.record import Configuration
from benchmarks.statistics import paired_ratio, percentile
from benchmarks.warnings import warnings_of
from tests.benchmarks.scripted import VARIABLE


def measured(*candidates, **plan):
    run = race(RacePlan(tuple(candidates), **{"seconds": 2.0, "rounds": 20, **plan}))
    return run, {each.candidate.name: each for each in run.measurements}


def test_a_constant_latency_is_reported_exactly(script):
    _, found = measured(script("a", milliseconds=2.0))
    median, tail = percentile(found["a"].samples, 0.5), percentile(found["a"].samples, 0.99)
    assert median.value == tail.value == 2_000_000
    assert median.interval.low == median.interval.high == 2_000_000
    assert warnings_of(found["a"]) == ()


def test_percentiles_of_a_known_distribution(script):
    _, found = measured(script("a", "noisy", seed=4), seconds=8.0)
    for share, expected in ((0.5, 1.0), (0.9, 1.06618), (0.99, 1.12336)):  # exp(0.05 z)
        estimate = percentile(found["a"].samples, share)
        assert estimate.value == pytest.approx(2e6 * expected, rel=0.01)
        assert estimate.interval.low <= 2e6 * expected <= estimate.interval.high
    assert warnings_of(found["a"]) == ()


def test_the_ratio_of_two_candidates(script):
    _, found = measured(script("slow", "noisy", 3.0, seed=1), script("fast", "noisy", 2.5, seed=2))
    ratio = paired_ratio(found["slow"].samples, found["fast"].samples)
    assert ratio.value == pytest.approx(1.2, rel=0.01)
    assert ratio.interval.low <= 1.2 <= ratio.interval.high


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("bimodal", "form two groups"),
        ("spiking", "% of the calls take more than twice the median"),
        ("drifting", "slower over the run"),
        ("throttling", "throttling"),
        ("unsettled", "was not steady"),
    ],
)
def test_anomalies_are_reported(script, name, sentence):
    _, found = measured(script("a", name))
    assert any(sentence in warning for warning in warnings_of(found["a"]))


@pytest.mark.slow
def test_normal_measurements_have_no_warnings(script):
    _, found = measured(script("a", "drifting"), script("b", "bimodal"), script("c", "throttling"))
    assert (
        len(warnings_of(found["a"]))
        == len(warnings_of(found["b"]))
        == len(warnings_of(found["c"]))
        == 1
    )


@pytest.mark.slow
def test_a_throttled_candidate_is_found_in_the_sustained_run(script):
    _, found = measured(
        script("a", "throttling", after=3_000), seconds=0.05, rounds=6, sustained=1.0
    )
    assert any(
        "1.50 times slower" in warning and "without rests" in warning
        for warning in warnings_of(found["a"])
    )


def test_the_warm_up_ends_when_the_latency_is_steady(script):
    _, found = measured(script("a", "settling"), script("b"))
    assert found["a"].warm_up.stable and found["b"].warm_up.stable
    assert found["a"].warm_up.calls > 50 > found["b"].warm_up.calls * 0.4
    assert percentile(found["a"].samples, 0.5).value == pytest.approx(2e6, rel=0.05)


def test_calls_too_short_for_the_clock_are_timed_together(script):
    _, found = measured(script("a", milliseconds=0.001), seconds=0.01)
    assert found["a"].repetitions == 20
    assert percentile(found["a"].samples, 0.5).value == 1000


@pytest.mark.slow_but_first
@pytest.mark.parametrize(
    ("name", "reason", "rounds"),
    [
        ("killed", "SIGKILL, as the system does when memory runs out", True),
        ("exits", "exit code 7; its last output: a last word", True),
        ("raises", "RuntimeError: the device was removed", True),
        ("refused", "does not load: it is scripted so", False),
        ("raises on load", "ValueError: the vendor's own words", False),
        ("out of memory", "it ran out of memory", False),
        ("hangs", "did not respond within 2 s", False),
    ],
)
def test_a_failing_candidate_does_not_affect_the_others(script, name, reason, rounds):
    timeout = 2 if name == "hangs" else 600
    run, found = measured(script("bad", name), script("good"), timeout=timeout)
    assert reason in found["bad"].error
    assert bool(found["bad"].rounds) == rounds  # what was measured before stays
    assert found["good"].error is None and len(found["good"].rounds) == 20
    assert not run.interrupted


def test_each_process_has_its_own_environment(script):
    held = Configuration(environment={VARIABLE: "AVX2"})
    _, found = measured(replace(script("a"), configuration=held), script("b"), seconds=0.2)
    assert found["a"].runtime["variable"] == "AVX2"
    assert "variable" not in found["b"].runtime
    assert VARIABLE not in os.environ


def test_every_round_has_its_own_order(script):
    run, found = measured(*(script(name) for name in "abc"), seconds=0.2)
    orders = {
        tuple(sorted(found, key=lambda name: found[name].rounds[index].start))
        for index in range(20)
    }
    assert len(orders) > 3
    assert run.version == 1 and run.machine


def test_control_c_keeps_the_measurements(script):
    steps = []

    def on_step(text):
        steps.append(text)
        if text.startswith("round 5"):
            # As a signal, without the stack for signals, which runtimes in this process may have
            # taken away. tests/process/test_interruption.py sends real ones to the command.
            _thread.interrupt_main()

    run = race(RacePlan((script("a"), script("b")), seconds=2.0, rounds=20), on_step)
    assert run.interrupted
    assert [len(each.rounds) for each in run.measurements] == [4, 4]
    assert steps[-1].startswith("round 5")


def test_no_process_is_left_behind(script):
    before, threads = set(_children()), threading.active_count()
    measured(script("a"), script("bad", "raises"), seconds=0.1)
    deadline = time.monotonic() + 5
    while set(_children()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert set(_children()) <= before
    assert threading.active_count() <= threads


def _children():
    path = f"/proc/self/task/{os.getpid()}/children"
    return open(path).read().split() if os.path.exists(path) else []


def test_cold_start_memory_and_profile_are_recorded(script):
    _, found = measured(script("a"), profile=True, seconds=0.1)
    assert list(found["a"].cold.stages) == ["import", "read", "compile", "first run"]
    assert [each.operator for each in found["a"].operators] == ["Conv", "MatMul"]
    if os.path.exists("/proc/self/status"):
        assert 0 < found["a"].memory.imported <= found["a"].memory.peak


def test_the_number_of_steps_is_as_announced(script):
    steps = []
    plan = RacePlan((script("a"), script("b")), seconds=0.1, rounds=6, sustained=0.01, profile=True)
    race(plan, steps.append)
    assert len(steps) == plan.steps


@pytest.mark.slow
def test_the_processors_limits_are_measured_with_any_number_of_threads(script):
    run, _ = measured(script("a"), seconds=0.06, rounds=2, limits=2)
    assert run.limits is not None, "its process failed"
    assert run.limits.threads == 2
    assert len(run.limits.macs_per_second) == len(run.limits.bytes_per_second) == 2
