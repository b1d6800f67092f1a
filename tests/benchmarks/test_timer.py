import time

import pytest

from benchmarks.measuring import timer

FIFTY_MICROSECONDS = 50_000


def wait() -> None:
    end = time.perf_counter_ns() + FIFTY_MICROSECONDS
    while time.perf_counter_ns() < end:
        pass


@pytest.mark.slow
def test_the_timer_adds_less_than_2_percent_to_a_call_of_50_microseconds():
    # What it adds to a sample does not depend on the call, so that an empty one shows it best; the
    # least of several goes, since the machine only ever adds.
    added = min(
        min(timer.sample([lambda: None], time.perf_counter_ns, 0.01).samples) for _ in range(5)
    )
    assert added < 0.02 * FIFTY_MICROSECONDS
    timed = min(min(timer.sample([wait], time.perf_counter_ns, 0.05).samples) for _ in range(5))
    assert FIFTY_MICROSECONDS <= timed < 1.02 * FIFTY_MICROSECONDS


def test_streams_run_at_the_same_time():
    sampled = timer.sample([lambda: time.sleep(0.01)] * 4, time.perf_counter_ns, 0.2)
    one = timer.sample([lambda: time.sleep(0.01)], time.perf_counter_ns, 0.2)
    per_second = [len(each.samples) / each.seconds for each in (sampled, one)]
    assert per_second[0] > 2.5 * per_second[1]


def test_extra_work_slows_a_call_down_by_its_share():
    slower = timer.with_extra_work(wait, time.perf_counter_ns, 0.5)
    timed = min(timer.sample([slower], time.perf_counter_ns, 0.05).samples)
    assert timed == pytest.approx(1.5 * FIFTY_MICROSECONDS, rel=0.1)


def test_an_error_in_a_stream_is_raised():
    def fails():
        raise RuntimeError("gone")

    with pytest.raises(RuntimeError, match="gone"):
        timer.sample([fails] * 3, time.perf_counter_ns, 0.1)


@pytest.mark.parametrize(("latency", "calls"), [(0, 20_000), (1_000, 20), (19_999, 2), (20_000, 1)])
def test_short_calls_are_timed_together(latency, calls):
    assert timer.repetitions(latency) == calls
