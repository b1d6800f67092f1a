"""Measures peak rates of the processor: matmuls for arithmetic, transfers for memory.

These are the two limits of the roofline model (S. Williams, A. Waterman, D. Patterson: "Roofline:
an insightful visual performance model for multicore architectures", CACM 52(4), 2009). They are
measured, not taken from a data sheet, so that they include quotas, heat, neighbours and virtual
machines:

    macs / s     a float32 matmul of two n x n matrices is n^3 multiply-accumulates
    bytes / s    a copy of b bytes reads b and writes b: 2 b, as STREAM counts (J. McCalpin,
                 "Memory bandwidth and machine balance in current high performance computers",
                 1995); a search for the largest number only reads

Each limit is the best of several candidates: every library in `matmuls` with several sizes, and
copy or search. The best one is chosen once, before the rounds. A limit below the rate of a
runtime's kernel would be of no use.

Each thread works on data of its own. The threads run at the same time, and their rates are summed.
A single matmul split by OpenBLAS would include the time of its barriers: with two threads on two
busy cores, it fell to a twentieth of the rate of one thread.

These limits are for float32. Arithmetic of lower precision has higher limits.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import cycle
from threading import Barrier
from types import ModuleType
from typing import Any

from benchmarks.measuring.matmuls import MAKERS, Work
from slide_deploy.machine import hardware

Rates = tuple[float, float]
"""Multiply-accumulates per second, bytes per second."""

# One thread in each matmul. OpenBLAS, OpenMP, MKL and Accelerate read these when they are loaded.
ENVIRONMENT = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

# Seconds of each of the two measurements of a round: 80 ms together, while a shared machine drifts
# within minutes. Seconds of one repetition: long compared with clocks and the interpreter.
_ROUND, _REPETITION, _LEAST_REPETITIONS = 0.04, 0.008, 3

# Sides of the matrices. Smaller matmuls do not reach the peak, larger ones leave the caches. A slow
# processor skips those that it cannot repeat within a round.
_SIDES = (256, 384, 512, 1024)

# Bytes of both arrays of the copy together. STREAM requires four times the last-level cache. At
# most 1/8 of the free memory, as the candidates need the rest.
_LEAST_COPY, _CACHES, _SHARE_OF_MEMORY = 256 << 20, 4, 8
_SMALLEST_WINDOW = 1 << 20


def prepare(threads: int) -> tuple[str, Callable[[], Rates]]:
    """Choose the fastest matmul and transfer, in a process that has not imported numpy yet.

    This takes some seconds: it loads libraries, allocates memory and tries sizes.

    Args:
        threads: Number of threads for both measurements.

    Returns:
        Library and size of the fastest matmul, and a function that measures one round in about
        80 ms.

    Raises:
        RuntimeError: numpy was imported without `ENVIRONMENT`.
    """
    if "numpy" in sys.modules and any(os.environ.get(key) != "1" for key in ENVIRONMENT):
        raise RuntimeError("numpy was imported before its matmuls were limited to one thread")
    os.environ.update(ENVIRONMENT)
    import numpy

    crew = Crew(threads)
    product, multiply = fastest_matmul(crew)
    move = _fastest_transfer(numpy, crew, copy_size())
    return product, lambda: (multiply(), move())


def copy_size() -> int:
    """Return the bytes of both arrays of the copy: larger than the caches, within free memory."""
    found = hardware()
    if found.available_memory is None:
        return _LEAST_COPY
    wanted = max(_LEAST_COPY, _CACHES * (found.last_level_cache or 0))
    return min(wanted, found.available_memory // _SHARE_OF_MEMORY)


class Crew:
    """Threads that work at the same time.

    Args:
        threads: Number of threads.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads)

    def frequency(self, works: Sequence[Work]) -> float:
        """Return repetitions per second, summed over threads.

        The rate of a thread comes from its median time, as the figures of candidates do.

        Args:
            works: One piece of work for each thread.
        """
        barrier = Barrier(len(works))
        return sum(self._pool.map(lambda work: _frequency(work, barrier), works))


def _frequency(work: Work, barrier: Barrier) -> float:
    """Return repetitions per second of one thread. All threads start together."""
    barrier.wait()
    start = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) < _LEAST_REPETITIONS or time.perf_counter() - start < _ROUND:
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return 1 / statistics.median(seconds)


def fastest_matmul(crew: Crew) -> tuple[str, Callable[[], float]]:
    """Choose the fastest matmul of the installed libraries.

    Args:
        crew: Threads. Each multiplies two matrices of its own.

    Returns:
        Library and size, and a function that measures one round in multiply-accumulates per
        second.

    Raises:
        RuntimeError: No library works.
    """
    found: list[tuple[float, str, Callable[[], float]]] = []
    for name, maker in MAKERS.items():
        # Skip a library that is missing or does not run on this processor.
        with suppress(Exception):
            for side in _SIDES:
                works = [maker(side) for _ in range(crew.threads)]
                round_of_it = partial(_rate, crew, works, side**3)
                rate = round_of_it()
                found.append((rate, f"{name}, {side} x {side}", round_of_it))
                if side**3 * crew.threads / rate > _ROUND / _LEAST_REPETITIONS:
                    break
    if not found:
        raise RuntimeError("no installed library can multiply matrices")
    _, product, measure = max(found, key=lambda each: each[0])
    return product, measure


def _rate(crew: Crew, works: Sequence[Work], each: int) -> float:
    return each * crew.frequency(works)


def _fastest_transfer(numpy: ModuleType, crew: Crew, size: int) -> Callable[[], float]:
    """Choose copy or search, whichever moves more bytes per second, and return its round."""
    # Fill the arrays, as the system maps untouched pages to one page of zeros.
    source, target = (numpy.full(size // 8, fill, dtype=numpy.float32) for fill in (1, 2))
    share = len(source) // crew.threads
    shares = [slice(share * number, share * (number + 1)) for number in range(crew.threads)]

    def copies(window: int) -> list[Work]:
        return [_copy(numpy, source[part], target[part], window) for part in shares]

    def searches(window: int) -> list[Work]:
        return [_search(source[part], window) for part in shares]

    def fitted(works: Callable[[int], list[Work]], moved: int) -> Callable[[], float]:
        """Return a round with a fitting window; ``moved`` is the bytes per number of a window."""
        window = min(_SMALLEST_WINDOW // 4, share)
        fitting = int(window * crew.frequency(works(window)) / crew.threads * _REPETITION)
        window = max(window, min(fitting, share))
        return partial(_rate, crew, works(window), moved * window)

    rounds = fitted(copies, 8), fitted(searches, 4)
    return max(rounds, key=lambda measure: measure())


def _copy(numpy: ModuleType, source: Any, target: Any, window: int) -> Work:
    """Return work that copies one window after the other, so that caches do not hold the next."""
    parts = _windows(window, len(source))

    def copy() -> None:
        part = next(parts)
        # numpy releases the interpreter's lock, so that the threads run at the same time.
        numpy.copyto(target[part], source[part])

    return copy


def _search(source: Any, window: int) -> Work:
    """Return work that finds the largest number of one window after the other."""
    parts = _windows(window, len(source))
    return lambda: source[next(parts)].max()


def _windows(window: int, length: int) -> Iterator[slice]:
    """Yield whole windows of an array again and again."""
    return cycle(slice(at, at + window) for at in range(0, length - window + 1, window))
