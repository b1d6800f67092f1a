"""What the processor can do at most: matrix products for arithmetic, reading for memory.

Both limits of the roofline model (S. Williams, A. Waterman, D. Patterson: "Roofline: an insightful
visual performance model for multicore architectures", CACM 52(4), 2009), measured rather than taken
from a data sheet, so that quota, heat, neighbours and virtual machines count:

    macs / s     a float32 product of two n x n matrices is n^3 multiply-accumulates
    bytes / s    a copy of b bytes reads b and writes b: 2 b, as STREAM counts (J. McCalpin,
                 "Memory bandwidth and machine balance in current high performance computers",
                 1995); a search for the largest number only reads

Of each the best of several counts: of every library in `products`, in several sizes, and of copy
and search. A limit that a runtime's kernel exceeds is none. Which ones are the best is found out
once, before the rounds.

Each thread has work of its own, and the rates of all, as they run at the same time, are summed. One
product split by OpenBLAS would measure its barriers too: with two threads on two cores that other
processes used as well, it fell to a twentieth of what one thread reaches.

Arithmetic of lower precision has other, higher limits, of which these say nothing.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from threading import Barrier
from types import ModuleType
from typing import Any

from benchmarks.measuring.matmuls import MAKERS, Work
from slide_deploy.machine import hardware

Rates = tuple[float, float]
"""Multiply-accumulates a second, bytes a second."""

# One thread inside each product. Read by OpenBLAS, OpenMP, MKL and Accelerate when they are loaded.
ENVIRONMENT = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

# Seconds of a round, for each of the two: together 80 ms, short against the minutes in which a
# shared machine drifts. Seconds of one repetition: long against clocks and the interpreter.
_ROUND, _REPETITION, _LEAST_REPETITIONS = 0.04, 0.008, 3

# Sides of the matrices that are tried: below, a product does not reach the peak; above, it leaves
# the caches. A slow processor is spared those that it cannot repeat within a round.
_SIDES = (256, 384, 512, 1024)

# Bytes of both arrays of the copy together: STREAM asks for four times the last-level cache. At
# most a share of the free memory: the rest is for the candidates.
_LEAST_COPY, _CACHES, _SHARE_OF_MEMORY = 256 << 20, 4, 8
_SMALLEST_WINDOW = 1 << 20


@dataclass(frozen=True)
class Prepared:
    """What a round measures.

    Attributes:
        product: the fastest one, in words.
        cache: bytes of the largest cache; None where the system does not tell.
        measure: one round of about 80 ms.
    """

    product: str
    cache: int | None
    measure: Callable[[], Rates]


def prepare(threads: int) -> Prepared:
    """Get ready to measure, in a process of its own that has not imported numpy yet.

    Takes some seconds: libraries are loaded, memory is claimed, and sizes are tried.

    Args:
        threads: that take part in both.

    Raises:
        RuntimeError: numpy was imported without `ENVIRONMENT`.
    """
    if "numpy" in sys.modules and any(os.environ.get(key) != "1" for key in ENVIRONMENT):
        raise RuntimeError("numpy was imported before its products were bound to one thread")
    os.environ.update(ENVIRONMENT)
    import numpy

    crew = Crew(threads)
    product, multiply = fastest_matmul(crew)
    move = _fastest_transfer(numpy, crew, copy_size())
    return Prepared(product, hardware().last_level_cache, lambda: (multiply(), move()))


def copy_size() -> int:
    """Bytes of both arrays of the copy: beyond the caches, within the memory that is free."""
    found = hardware()
    if found.available_memory is None:
        return _LEAST_COPY
    wanted = max(_LEAST_COPY, _CACHES * (found.last_level_cache or 0))
    return min(wanted, found.available_memory // _SHARE_OF_MEMORY)


class Crew:
    """Threads that work at the same time.

    Args:
        threads: how many.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def frequency(self, works: Sequence[Work]) -> float:
        """Repetitions a second, all threads together, each by its median.

        The median, because that is what is taken of the candidates' times too.

        Args:
            works: one a thread.
        """
        barrier = Barrier(len(works))
        return sum(self._pool.map(lambda work: _frequency(work, barrier), works))


def _frequency(work: Work, barrier: Barrier) -> float:
    """Repetitions a second in one thread, which starts when all do."""
    barrier.wait()
    start = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) < _LEAST_REPETITIONS or time.perf_counter() - start < _ROUND:
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return 1 / statistics.median(seconds)


def fastest_matmul(crew: Crew) -> tuple[str, Callable[[], float]]:
    """The fastest of the products that are at hand.

    Args:
        crew: the threads that multiply, each two matrices of its own.

    Returns:
        The product in words, and a round of it, which gives multiply-accumulates a second.

    Raises:
        RuntimeError: no library multiplies.
    """
    found: list[tuple[float, str, Callable[[], float]]] = []
    for name, maker in MAKERS.items():
        # A library that is missing, or does not run on this processor, is no limit of it.
        with suppress(Exception):
            for side in _SIDES:
                works = [maker(side) for _ in range(crew.threads)]
                round_of_it = partial(_rate, crew, works, side**3)
                rate = round_of_it()
                found.append((rate, f"{name}, {side} x {side}", round_of_it))
                if side**3 * crew.threads / rate > _ROUND / _LEAST_REPETITIONS:
                    break
    if not found:
        raise RuntimeError("no library multiplies matrices here")
    _, product, measure = max(found, key=lambda each: each[0])
    return product, measure


def _rate(crew: Crew, works: Sequence[Work], each: int) -> float:
    return each * crew.frequency(works)


def _fastest_transfer(numpy: ModuleType, crew: Crew, size: int) -> Callable[[], float]:
    """Copy or search, whichever moves more; a round of it gives bytes read and written a second."""
    # Filled, not just claimed: untouched pages are all one page of zeros.
    source, target = (numpy.full(size // 8, fill, dtype=numpy.float32) for fill in (1, 2))
    share = len(source) // crew.threads
    shares = [slice(share * number, share * (number + 1)) for number in range(crew.threads)]

    def copies(window: int) -> list[Work]:
        return [_copy(numpy, source[part], target[part], window) for part in shares]

    def searches(window: int) -> list[Work]:
        return [_search(source[part], window) for part in shares]

    def fitted(works: Callable[[int], list[Work]], moved: int) -> Callable[[], float]:
        """A round of works; ``moved`` is bytes for each number of a window."""
        window = min(_SMALLEST_WINDOW // 4, share)
        fitting = int(window * crew.frequency(works(window)) / crew.threads * _REPETITION)
        window = max(window, min(fitting, share))
        return partial(_rate, crew, works(window), moved * window)

    rounds = fitted(copies, 8), fitted(searches, 4)
    return max(rounds, key=lambda measure: measure())


def _copy(numpy: ModuleType, source: Any, target: Any, window: int) -> Work:
    """Copies one window after the other, so that none is in a cache when it comes again."""
    start = 0

    def copy() -> None:
        nonlocal start
        # numpy lets go of the interpreter's lock, so that the threads do run at a time.
        numpy.copyto(target[start : start + window], source[start : start + window])
        start = _next(start, window, len(source))

    return copy


def _search(source: Any, window: int) -> Work:
    """Looks for the largest number of one window after the other."""
    start = 0

    def search() -> None:
        nonlocal start
        source[start : start + window].max()
        start = _next(start, window, len(source))

    return search


def _next(start: int, window: int, length: int) -> int:
    return start + window if start + 2 * window <= length else 0
