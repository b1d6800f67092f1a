"""The processor's peak rates, as far as they can be tested on a shared machine."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from benchmarks.measuring import limits, matmuls
from slide_deploy.machine import Hardware

ROOT = Path(__file__).parents[2]

MEASURE = """
import sys
from benchmarks.measuring import limits
limits.copy_size = lambda: 32 << 20
assert "numpy" not in sys.modules
one_round = limits.prepare({threads})[1]
import time
start = time.perf_counter()
print(*one_round(), time.perf_counter() - start)
"""


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: text for key, text in os.environ.items() if key not in limits.ENVIRONMENT}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_round_is_short_and_its_rates_are_plausible(threads: int) -> None:
    done = run(MEASURE.format(threads=threads))
    assert done.returncode == 0, done.stderr
    macs, transferred, seconds = map(float, done.stdout.split())
    # From a board with one slow core to a server with hundreds.
    assert 1e7 < macs < 1e15
    assert 1e7 < transferred < 1e13
    assert seconds < 5


def napping(milliseconds: float) -> Callable[[int], Callable[[], None]]:
    """Return a library whose matmuls of any size take this long."""
    return lambda side: lambda: time.sleep(milliseconds / 1e3)


def missing(side: int) -> Callable[[], None]:
    raise ImportError("it is not here")


def test_the_fastest_library_and_size_is_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = {"missing": missing, "slow": napping(4), "fast": napping(1)}
    monkeypatch.setattr(limits, "MAKERS", libraries)
    product, measure = limits.fastest_matmul(limits.Crew(1))
    assert product == "fast, 1024 x 1024"  # the naps are equally long: most work in the same time
    assert 0.3 * 1024**3 / 1e-3 < measure() <= 1024**3 / 1e-3


def test_sizes_that_take_longer_than_a_round_are_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []

    def slow(side: int) -> Callable[[], None]:
        tried.append(side)
        return lambda: time.sleep(0.02)

    monkeypatch.setattr(limits, "MAKERS", {"slow": slow})
    limits.fastest_matmul(limits.Crew(2))
    assert tried == [256, 256]


def test_without_any_library_there_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAKERS", {"missing": missing})
    with pytest.raises(RuntimeError, match="no installed library"):
        limits.fastest_matmul(limits.Crew(1))


@pytest.mark.parametrize("name", matmuls.MAKERS)
def test_each_installed_library_multiplies(name: str) -> None:
    module = {"ONNX Runtime": "onnxruntime", "OpenVINO": "openvino"}.get(name, name)
    pytest.importorskip(module)
    work = matmuls.MAKERS[name](64)
    assert work() is None


@pytest.mark.parametrize("side", [3, 64, 200])
def test_the_onnx_model_written_without_a_library_is_a_matmul(side: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    right = numpy.arange(side**2, dtype=numpy.float32).reshape(side, side) / side
    session = onnxruntime.InferenceSession(
        matmuls.onnx_matmul(right), providers=["CPUExecutionProvider"]
    )
    left = numpy.eye(side, dtype=numpy.float32)[::-1]
    assert numpy.array_equal(session.run(None, {"x": left})[0], right[::-1])


@pytest.mark.slow
def test_a_slow_kernel_of_numpy_is_not_the_limit() -> None:
    """A variable of OpenBLAS slows down numpy, but no runtime."""
    pytest.importorskip("onnxruntime")
    if platform.machine() not in ("x86_64", "AMD64"):
        pytest.skip("the kernels are those of x86")
    code = (
        "from benchmarks.measuring import limits; limits.copy_size = lambda: 32 << 20\n"
        "print(limits.prepare(1)[0])"
    )
    assert not run(code, OPENBLAS_CORETYPE="Prescott").stdout.startswith("numpy")


@pytest.mark.slow
def test_numpy_must_not_be_imported_before_its_threads_are_limited() -> None:
    code = "import numpy\nfrom benchmarks.measuring import limits\nlimits.prepare(1)"
    assert "numpy was imported before" in run(code).stderr
    bound = code.replace("limits.prepare", "limits.copy_size = lambda: 4 << 20; limits.prepare")
    assert run(bound, **limits.ENVIRONMENT).returncode == 0


def test_rates_of_threads_add_up() -> None:
    naps = [lambda: time.sleep(0.01)] * 3
    # Three threads, each less than a hundred times a second: sleeping takes longer, never shorter.
    assert 100 < limits.Crew(3).frequency(naps) <= 300


def test_searches_walk_through_the_whole_array() -> None:
    source = numpy.arange(10)
    read: list[tuple[int, ...]] = []

    class Watched:
        def __len__(self) -> int:
            return len(source)

        def __getitem__(self, part: slice) -> numpy.ndarray:
            read.append(tuple(source[part]))
            return source[part]

    search = limits._search(Watched(), 4)
    for _ in range(3):
        search()
    assert read == [(0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 2, 3)]


def test_an_error_in_a_thread_is_not_lost() -> None:
    with pytest.raises(ZeroDivisionError):
        limits.Crew(1).frequency([lambda: 1 // 0])


def test_copies_walk_through_the_whole_array() -> None:
    source, target = numpy.arange(10, dtype=numpy.uint8), numpy.zeros(10, dtype=numpy.uint8)
    copy = limits._copy(numpy, source, target, 4)
    copy()
    assert target.tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 0, 0]
    copy()
    assert target.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 0, 0]
    target[:] = 0
    copy()
    assert target.tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("cache", "free", "expected"),
    [
        (None, 64 << 30, 256 << 20),
        (32 << 20, 64 << 30, 256 << 20),
        (480 << 20, 64 << 30, 1920 << 20),
        (480 << 20, 4 << 30, 512 << 20),
        (1 << 20, 1 << 30, 128 << 20),
        (480 << 20, None, 256 << 20),
    ],
)
def test_the_copy_is_larger_than_caches_and_leaves_memory(
    monkeypatch: pytest.MonkeyPatch, cache: int | None, free: int | None, expected: int
) -> None:
    found = Hardware(last_level_cache=cache, available_memory=free)
    monkeypatch.setattr(limits, "hardware", lambda: found)
    assert limits.copy_size() == expected
