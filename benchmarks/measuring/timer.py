"""Times calls: warms up until the latency is steady, then takes samples.

The call and the clock are parameters, so that tests can measure scripted latencies exactly.
"""

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

from benchmarks.record import WarmUp

Call = Callable[[], None]
Clock = Callable[[], int]

# The latency is steady if the medians of 4 consecutive blocks lie within a factor of 1.05.
SETTLED_BLOCKS, SETTLED_SPREAD = 4, 1.05
BLOCK_CALLS, BLOCK_NANOSECONDS = 3, 50_000_000
# Two clock readings take about 0.1 us, which is below 1 % of a sample of 20 us.
SHORTEST_SAMPLE = 20_000
# Calls that are not recorded, as caches are cold and threads asleep after a rest.
SETTLE_CALLS, SETTLE_NANOSECONDS = 2, 20_000_000
LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Sampled:
    """Samples of consecutive calls.

    Attributes:
        seconds: From the start of the first call to the end of the last one, over all streams.
        samples: Nanoseconds per call, in the order in which calls ended.
    """

    seconds: float
    samples: tuple[int, ...]


def warm_up(call: Call, clock: Clock, limit: float) -> tuple[WarmUp, int]:
    """Call until the latency is steady, for at most ``limit`` seconds but at least one block.

    Returns:
        The number and duration of the calls, and the latency of a call in nanoseconds.
    """
    start = clock()
    blocks: list[float] = []
    calls = 0
    while True:
        block = _block(call, clock)
        calls += len(block)
        blocks.append(median(block))
        last = blocks[-SETTLED_BLOCKS:]
        stable = len(last) == SETTLED_BLOCKS and max(last) <= SETTLED_SPREAD * min(last)
        seconds = (clock() - start) / 1e9
        if stable or seconds >= limit:
            return WarmUp(calls, seconds, stable), round(blocks[-1])


def _block(call: Call, clock: Clock) -> list[int]:
    start = now = clock()
    times: list[int] = []
    while len(times) < BLOCK_CALLS or now - start < BLOCK_NANOSECONDS:
        before = now
        call()
        now = clock()
        times.append(now - before)
    return times


def repetitions(latency: int) -> int:
    """Return the calls per sample that make it long enough for the clock; latency in ns."""
    return max(1, -(-SHORTEST_SAMPLE // max(latency, 1)))


def sample(calls: Sequence[Call], clock: Clock, seconds: float, repetitions: int = 1) -> Sampled:
    """Call for some seconds, each stream in a thread of its own, and time every call.

    Args:
        calls: One call for each stream.
        clock: Clock in nanoseconds.
        seconds: Time after which no further call begins. Each stream makes at least three samples.
        repetitions: Calls per sample.
    """
    with _no_garbage_collection():
        if len(calls) == 1:
            streams = [_stream(calls[0], clock, seconds, repetitions)]
        else:
            with ThreadPoolExecutor(len(calls)) as pool:
                streams = list(
                    pool.map(lambda call: _stream(call, clock, seconds, repetitions), calls)
                )
    begin = min(start for start, _ in streams)
    ended = sorted((end, time) for _, stream in streams for end, time in stream)
    return Sampled((ended[-1][0] - begin) / 1e9, tuple(time for _, time in ended))


def _stream(
    call: Call, clock: Clock, seconds: float, repetitions: int
) -> tuple[int, list[tuple[int, int]]]:
    """Return the start of the first recorded call, and (end, nanoseconds per call) by sample."""
    start, settled = clock(), 0
    while settled < SETTLE_CALLS and clock() - start < SETTLE_NANOSECONDS:
        call()
        settled += 1
    first = now = clock()
    deadline = first + int(seconds * 1e9)
    samples: list[tuple[int, int]] = []
    if repetitions == 1:  # separate, as the inner loop would cost as much as the clock
        while now < deadline or len(samples) < LEAST_SAMPLES:
            before = clock()
            call()
            now = clock()
            samples.append((now, now - before))
        return first, samples
    inner = range(repetitions)
    while now < deadline or len(samples) < LEAST_SAMPLES:
        before = clock()
        for _ in inner:
            call()
        now = clock()
        samples.append((now, round((now - before) / repetitions)))
    return first, samples


def with_extra_work(call: Call, clock: Clock, share: float) -> Call:
    """Return a slower call, which then waits busily for a share of the call's time."""
    if share == 0:
        return call

    def slower() -> None:
        before = clock()
        call()
        now = clock()
        until = now + int((now - before) * share)
        while clock() < until:
            pass

    return slower


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
