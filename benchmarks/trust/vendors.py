"""The other ways to time a file: OpenVINO's benchmark_app, and a bare loop of ONNX Runtime.

Each runs in a process of its own that ends before anything else is timed, and is told to do what
our targets do: the same threads, one stream, float32, no pinning, the same input sizes.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Configuration, Tensor
from slide_deploy.errors import InputError
from slide_deploy.files.scratch import temporary_folder
from slide_deploy.process.child_python import python_environment

_LOOP = Path(__file__).with_name("onnxruntime_loop.py")
# For import, reading, compiling and writing the report; what is beyond hangs.
_PATIENCE = 120.0


@dataclass(frozen=True)
class Question:
    """What a vendor's tool is asked.

    Attributes:
        path: of the file.
        inputs: their sizes, as our own target fed them.
        configuration: of our own target.
        seconds: of measuring.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    configuration: Configuration
    seconds: float


@dataclass(frozen=True)
class Vendor:
    """A tool that is not ours.

    Attributes:
        name: as tables show it.
        median: of the calls that it timed, in nanoseconds.
    """

    name: str
    median: Callable[[Question], float]


def benchmark_app_command(program: str, question: Question, folder: Path) -> list[str]:
    """The command line of benchmark_app; its report goes to ``folder``."""
    shapes = ",".join(
        f"{tensor.name}[{','.join(map(str, tensor.shape))}]" for tensor in question.inputs
    )
    return [
        *(program, "-m", str(question.path), "-d", "CPU", "-api", "sync"),
        # It refuses threads beside a hint; with one stream OpenVINO's own default is the latency.
        *("-hint", "none", "-nstreams", "1", "-nthreads", str(question.configuration.threads)),
        *("-pin", "NO", "-infer_precision", "f32", "-shape", shapes),
        *("-t", str(max(1, round(question.seconds)))),  # it takes whole seconds
        *("-report_type", "no_counters", "-json_stats", "-report_folder", str(folder)),
    ]


def benchmark_app_median(report: str) -> float:
    """Nanoseconds of the median that a report of benchmark_app holds.

    Raises:
        InputError: if it holds none.
    """
    try:
        results = json.loads(report)["execution_results"]
        if "error" in results:
            raise InputError(f"benchmark_app failed: {str(results['error']).splitlines()[0]}.")
        return float(results["latency (ms)"]) * 1e6
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("benchmark_app wrote a report without a latency.") from error


def loop_median(printed: str) -> float:
    """Nanoseconds that the loop printed.

    Raises:
        InputError: if it printed something else.
    """
    try:
        return float(printed)
    except ValueError as error:
        raise InputError(f"The loop printed no time: {printed.strip()[:100]!r}.") from error


def _benchmark_app(question: Question) -> float:
    beside = str(Path(sys.executable).parent)
    program = shutil.which("benchmark_app", path=beside) or shutil.which("benchmark_app")
    if program is None:
        raise InputError("benchmark_app is not here: it comes with pip install openvino.")
    with temporary_folder() as folder:
        command = benchmark_app_command(program, question, folder)
        _run("benchmark_app", command, question.seconds)
        report = folder / "benchmark_report.json"
        if not report.is_file():
            raise InputError("benchmark_app wrote no report.")
        return benchmark_app_median(report.read_text(encoding="utf-8"))


def _loop(question: Question) -> float:
    inputs = json.dumps([[each.name, each.dtype, each.shape] for each in question.inputs])
    threads, seconds = str(question.configuration.threads), str(question.seconds)
    command = [sys.executable, str(_LOOP), str(question.path), threads, seconds, inputs]
    return loop_median(_run(_LOOP.name, command, question.seconds))


def _run(name: str, command: Sequence[str], seconds: float) -> str:
    """What a command prints.

    Raises:
        InputError: if it fails or hangs.
    """
    try:
        done = subprocess.run(
            command,
            env=python_environment(Path(__file__).parents[2]),
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=seconds + _PATIENCE,
        )
    except subprocess.CalledProcessError as error:
        said = [
            line.strip() for line in (error.stderr or error.stdout).splitlines() if line.strip()
        ]
        raise InputError(f"{name} failed: {said[-1] if said else 'it said nothing'}.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{name} cannot be used: {error}.") from error
    return done.stdout


# Suffix of a file: the target of ours that runs it, and who else does.
VENDORS = {
    ".onnx": ("onnxruntime:cpu", Vendor("a loop around session.run", _loop)),
    ".xml": ("openvino:cpu", Vendor("benchmark_app", _benchmark_app)),
}
