"""Times calls: warms up until the latency has settled, then samples for a while.

Nothing here knows what is called. The clock is a parameter, so that scripted latencies can be
measured exactly.
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

# Latency has settled when the medians of so many blocks in a row lie so close together.
SETTLED_BLOCKS, SETTLED_SPREAD = 4, 1.05
BLOCK_CALLS, BLOCK_NANOSECONDS = 3, 50_000_000
# Reading the clock twice costs about 0.1 us: a sample of 20 us or more hides it below 1 %.
SHORTEST_SAMPLE = 20_000
# After a rest the caches are cold and the threads asleep: these calls are not recorded.
SETTLE_CALLS, SETTLE_NANOSECONDS = 2, 20_000_000
LEAST_SAMPLES = 3


@dataclass(frozen=True)
class Sampled:
    """Samples of one go.

    Attributes:
        seconds: from the first call's start to the last one's end, over all streams.
        samples: nanoseconds a call, in the order in which they ended.
    """

    seconds: float
    samples: tuple[int, ...]


def warm_up(call: Call, clock: Clock, limit: float) -> tuple[WarmUp, int]:
    """Call until the latency has settled, for at most ``limit`` seconds but at least one block.

    Returns:
        What it took, and the latency of a call in nanoseconds.
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
    """Calls that one sample must hold to be long enough for the clock; latency in nanoseconds."""
    return max(1, -(-SHORTEST_SAMPLE // max(latency, 1)))


def sample(calls: Sequence[Call], clock: Clock, seconds: float, repetitions: int = 1) -> Sampled:
    """Call for some seconds, each stream in a thread of its own, and time every call.

    Args:
        calls: one for each stream.
        clock: nanoseconds.
        seconds: after which no further call begins; each stream makes a few calls in any case.
        repetitions: calls in each sample.
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
    """When the first recorded call began; end and nanoseconds a call of each sample."""
    start, settled = clock(), 0
    while settled < SETTLE_CALLS and clock() - start < SETTLE_NANOSECONDS:
        call()
        settled += 1
    first = now = clock()
    deadline = first + int(seconds * 1e9)
    samples: list[tuple[int, int]] = []
    if repetitions == 1:  # apart, since the inner loop would cost as much as the clock
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
    """The call, and then busy waiting for that share of its time: a known slowdown."""
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
