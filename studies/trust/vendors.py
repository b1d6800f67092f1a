"""Other tools that time a file: OpenVINO's benchmark_app, and a plain loop with ONNX Runtime.

Each runs in a process of its own, which ends before anything else is timed. It has the settings of
our targets: the same threads, one stream, float32, no pinning, the same input sizes.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.record import Configuration, Tensor
from slide_deploy.errors import InputError
from slide_deploy.files.scratch import temporary_folder
from slide_deploy.process.child_python import python_environment

_LOOP = Path(__file__).with_name("onnxruntime_loop.py")
# Seconds for import, reading, compiling and writing the report. A slower tool hangs.
_PATIENCE = 120.0


# Runs a tool on a file with inputs of our sizes, a configuration and seconds of measuring, and
# returns the median of its calls in nanoseconds.
Tool = Callable[[Path, Sequence[Tensor], Configuration, float], float]


def benchmark_app_options(
    path: Path, inputs: Sequence[Tensor], configuration: Configuration, seconds: float
) -> list[str]:
    """Return the options of benchmark_app, without those of its report."""
    shapes = ",".join(f"{tensor.name}[{','.join(map(str, tensor.shape))}]" for tensor in inputs)
    return [
        *("-m", str(path), "-d", "CPU", "-api", "sync"),
        # It refuses threads together with a hint. With one stream, OpenVINO optimises latency.
        *("-hint", "none", "-nstreams", "1", "-nthreads", str(configuration.threads)),
        *("-pin", "NO", "-infer_precision", "f32", "-shape", shapes),
        *("-t", str(max(1, round(seconds)))),  # it accepts whole seconds only
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


def _benchmark_app(
    path: Path, inputs: Sequence[Tensor], configuration: Configuration, seconds: float
) -> float:
    beside = str(Path(sys.executable).parent)
    program = shutil.which("benchmark_app", path=beside) or shutil.which("benchmark_app")
    if program is None:
        raise InputError("benchmark_app is missing: install it with pip install openvino.")
    with temporary_folder() as folder:
        options = benchmark_app_options(path, inputs, configuration, seconds)
        where = ("-report_type", "no_counters", "-json_stats", "-report_folder", str(folder))
        _run("benchmark_app", [program, *options, *where], seconds)
        report = folder / "benchmark_report.json"
        if not report.is_file():
            raise InputError("benchmark_app wrote no report.")
        return benchmark_app_median(report.read_text(encoding="utf-8"))


def _loop(
    path: Path, inputs: Sequence[Tensor], configuration: Configuration, seconds: float
) -> float:
    listed = json.dumps([[each.name, each.dtype, each.shape] for each in inputs])
    arguments = [str(path), str(configuration.threads), str(seconds), listed]
    return loop_median(_run(_LOOP.name, [sys.executable, str(_LOOP), *arguments], seconds))


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


# By suffix of a file: our target, the name of the other tool in tables, and the tool.
VENDORS: dict[str, tuple[str, str, Tool]] = {
    ".onnx": ("onnxruntime:cpu", "a loop around session.run", _loop),
    ".xml": ("openvino:cpu", "benchmark_app", _benchmark_app),
}
