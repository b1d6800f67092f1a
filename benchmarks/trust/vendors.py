"""Other tools that time a file: OpenVINO's benchmark_app, and a plain loop with ONNX Runtime.

Each runs in a process of its own, which ends before anything else is timed. It has the settings of
our targets: the same threads, one stream, float32, no pinning, the same input sizes.
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
# Seconds for import, reading, compiling and writing the report. A slower tool hangs.
_PATIENCE = 120.0


@dataclass(frozen=True)
class VendorRun:
    """Input of a vendor's tool.

    Attributes:
        path: Path of the file.
        inputs: Inputs with the sizes of our target.
        configuration: Configuration of our target.
        seconds: Measuring time.
    """

    path: Path
    inputs: tuple[Tensor, ...]
    configuration: Configuration
    seconds: float


@dataclass(frozen=True)
class Vendor:
    """A vendor's tool.

    Attributes:
        name: Name in tables.
        median: Runs the tool and returns the median of its calls in nanoseconds.
    """

    name: str
    median: Callable[[VendorRun], float]


def benchmark_app_command(program: str, run: VendorRun, folder: Path) -> list[str]:
    """Return the command line of benchmark_app, which writes its report into ``folder``."""
    shapes = ",".join(f"{tensor.name}[{','.join(map(str, tensor.shape))}]" for tensor in run.inputs)
    return [
        *(program, "-m", str(run.path), "-d", "CPU", "-api", "sync"),
        # It refuses threads together with a hint. With one stream, OpenVINO optimises latency.
        *("-hint", "none", "-nstreams", "1", "-nthreads", str(run.configuration.threads)),
        *("-pin", "NO", "-infer_precision", "f32", "-shape", shapes),
        *("-t", str(max(1, round(run.seconds)))),  # it accepts whole seconds only
        *("-report_type", "no_counters", "-json_stats", "-report_folder", str(folder)),
    ]


def benchmark_app_median(report: str) -> float:
    """Return the median in nanoseconds from a report of benchmark_app.

    Raises:
        InputError: The report contains no median.
    """
    try:
        results = json.loads(report)["execution_results"]
        if "error" in results:
            raise InputError(f"benchmark_app failed: {str(results['error']).splitlines()[0]}.")
        return float(results["latency (ms)"]) * 1e6
    except (ValueError, KeyError, TypeError) as error:
        raise InputError("benchmark_app wrote a report without a latency.") from error


def loop_median(printed: str) -> float:
    """Return the nanoseconds that the loop printed.

    Raises:
        InputError: It printed something else.
    """
    try:
        return float(printed)
    except ValueError as error:
        raise InputError(f"The loop printed no time: {printed.strip()[:100]!r}.") from error


def _benchmark_app(run: VendorRun) -> float:
    beside = str(Path(sys.executable).parent)
    program = shutil.which("benchmark_app", path=beside) or shutil.which("benchmark_app")
    if program is None:
        raise InputError("benchmark_app is missing: install it with pip install openvino.")
    with temporary_folder() as folder:
        command = benchmark_app_command(program, run, folder)
        _run("benchmark_app", command, run.seconds)
        report = folder / "benchmark_report.json"
        if not report.is_file():
            raise InputError("benchmark_app wrote no report.")
        return benchmark_app_median(report.read_text(encoding="utf-8"))


def _loop(run: VendorRun) -> float:
    inputs = json.dumps([[each.name, each.dtype, each.shape] for each in run.inputs])
    threads, seconds = str(run.configuration.threads), str(run.seconds)
    command = [sys.executable, str(_LOOP), str(run.path), threads, seconds, inputs]
    return loop_median(_run(_LOOP.name, command, run.seconds))


def _run(name: str, command: Sequence[str], seconds: float) -> str:
    """Run a command and return its standard output.

    Raises:
        InputError: The command failed or hung.
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
        lines = [
            line.strip() for line in (error.stderr or error.stdout).splitlines() if line.strip()
        ]
        raise InputError(f"{name} failed: {lines[-1] if lines else 'no output'}.") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InputError(f"{name} cannot be used: {error}.") from error
    return done.stdout


# By suffix of a file: our target and the vendor's tool.
VENDORS = {
    ".onnx": ("onnxruntime:cpu", Vendor("a loop around session.run", _loop)),
    ".xml": ("openvino:cpu", Vendor("benchmark_app", _benchmark_app)),
}
