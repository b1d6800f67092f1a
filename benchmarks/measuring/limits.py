"""What the processor can do at most: matrix products for arithmetic, copies for memory.

Both limits of the roofline model (S. Williams, A. Waterman, D. Patterson: "Roofline: an insightful
visual performance model for multicore architectures", CACM 52(4), 2009), measured rather than taken
from a data sheet, so that quota, heat, neighbours and virtual machines count:

    macs / s     a float32 product of two n x n matrices is n^3 multiply-accumulates
    bytes / s    a copy of b bytes reads b and writes b: 2 b, as STREAM counts (J. McCalpin,
                 "Memory bandwidth and machine balance in current high performance computers", 1995)

Each thread has work of its own, and the rates of all, as they run at the same time, are summed. One
product split by OpenBLAS would measure its barriers too: with two threads on two cores that other
processes used as well, it fell to a twentieth of what one thread reaches.

numpy stands for the processor here. That it may was measured: 10^9 multiply-accumulates a second of
float32 products with n = 1024 and 2048, one thread, Xeon with AVX-512 and AMX, best of 2 s:

    numpy 2.4, OpenBLAS 0.3.31    101    101
    ONNX Runtime 1.32              99     93
    OpenVINO 2026.4, float32      107    104    with bfloat16 on AMX 447 and 486

So a runtime may reach 1.06 of the limit; it is shown as it is. Arithmetic of lower precision has
other, higher limits, of which these say nothing. Where numpy's library falls far behind a runtime
on some processor, shares above 1 tell.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from types import ModuleType
from typing import Any

from slide_deploy.machine import hardware

Rates = tuple[float, float]
"""Multiply-accumulates a second, bytes a second."""
Work = Callable[[], None]

# One thread inside each product. Read by OpenBLAS, OpenMP, MKL and Accelerate when they are loaded.
ENVIRONMENT = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)

# Seconds of a round, for each of the two: together 80 ms, short against the minutes in which a
# shared machine drifts. Seconds of one repetition: long against clocks and the interpreter. A
# product of that length is large enough to reach the peak.
_ROUND, _REPETITION, _LEAST_REPETITIONS = 0.04, 0.008, 3

# Sides of the matrices: below, a product does not reach the peak; above, memory is wasted.
_SMALLEST_SIDE, _LARGEST_SIDE, _SIDE_STEP = 256, 2048, 64

# Bytes of both arrays of the copy together: STREAM asks for four times the last-level cache. At
# most a share of the free memory: the rest is for the candidates.
_LEAST_COPY, _CACHES, _SHARE_OF_MEMORY = 256 << 20, 4, 8
_SMALLEST_WINDOW = 1 << 20


def prepare(threads: int) -> Callable[[], Rates]:
    """Get ready to measure, in a process of its own that has not imported numpy yet.

    Takes a second or more: memory is claimed and sizes are tried.

    Args:
        threads: that take part in both.

    Returns:
        One round of about 80 ms: multiply-accumulates a second, bytes read and written a second.

    Raises:
        RuntimeError: numpy was imported without `ENVIRONMENT`.
    """
    if "numpy" in sys.modules and any(os.environ.get(key) != "1" for key in ENVIRONMENT):
        raise RuntimeError("numpy was imported before its products were bound to one thread")
    os.environ.update(ENVIRONMENT)
    import numpy

    crew = Crew(threads)
    multiply = _products(numpy, crew)
    copy = _copies(numpy, crew, copy_size())
    return lambda: (multiply(), copy())


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


def _products(numpy: ModuleType, crew: Crew) -> Callable[[], float]:
    """A round of products; gives multiply-accumulates a second."""

    def of_side(side: int) -> Callable[[], float]:
        works = [_product(numpy, side, seed) for seed in range(crew.threads)]
        return lambda: side**3 * crew.frequency(works)

    side = _SMALLEST_SIDE
    # Twice: a small product runs below the peak, so that its rate does not tell the size yet.
    for _ in range(2):
        fitting = (of_side(side)() / crew.threads * _REPETITION) ** (1 / 3)
        side = max(_SMALLEST_SIDE, min(int(fitting), _LARGEST_SIDE)) // _SIDE_STEP * _SIDE_STEP
    return of_side(side)


def _product(numpy: ModuleType, side: int, seed: int) -> Work:
    numbers = numpy.random.default_rng(seed)
    left, right = (numbers.standard_normal((side, side), dtype=numpy.float32) for _ in range(2))
    result = numpy.empty_like(left)

    def multiply() -> None:
        numpy.matmul(left, right, out=result)

    return multiply


def _copies(numpy: ModuleType, crew: Crew, size: int) -> Callable[[], float]:
    """A round of copies; gives bytes read and written a second."""
    # Filled, not just claimed: untouched pages are all one page of zeros.
    source, target = (numpy.full(size // 2, fill, dtype=numpy.uint8) for fill in (1, 2))
    share = len(source) // crew.threads
    shares = [slice(share * number, share * (number + 1)) for number in range(crew.threads)]

    def by_windows(window: int) -> Callable[[], float]:
        works = [_copy(numpy, source[part], target[part], window) for part in shares]
        return lambda: 2 * window * crew.frequency(works)

    window = min(_SMALLEST_WINDOW, share)
    fitting = int(by_windows(window)() / 2 / crew.threads * _REPETITION)
    return by_windows(max(window, min(fitting, share)))


def _copy(numpy: ModuleType, source: Any, target: Any, window: int) -> Work:
    """Copies one window after the other, so that none is in a cache when it comes again."""
    start = 0

    def copy() -> None:
        nonlocal start
        # numpy lets go of the interpreter's lock, so that the threads do run at a time.
        numpy.copyto(target[start : start + window], source[start : start + window])
        start = start + window if start + 2 * window <= len(source) else 0

    return copy
