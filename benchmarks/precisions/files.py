"""Exports a checkpoint to every format and precision, and evaluates the files together.

Both use the command line, as users do. Each export is a process of its own, so that no state of a
converter remains for the next one.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from slide_deploy.backends.registry import target_named
from slide_deploy.errors import InputError
from slide_deploy.evaluation.record import Record
from slide_deploy.evaluation.result_file import read
from slide_deploy.formats import Format, known_formats
from slide_deploy.precisions import precision_named
from slide_deploy.process.child_python import python_environment


@dataclass(frozen=True)
class WrittenPrecision:
    """A file in a format and precision.

    Attributes:
        format: Record of the format.
        precision: Name of the precision.
        path: Path that runtimes open, once it is written.
        size: Bytes of the file and its companions.
    """

    format: Format
    precision: str
    path: Path = Path()
    size: int = 0

    def __str__(self) -> str:
        return f"{self.format.name} in {self.precision}"


def kinds(
    formats: Sequence[str] = (), precisions: Sequence[str] = ()
) -> Iterator[WrittenPrecision]:
    """Yield every format that runs here, in each of its precisions.

    Args:
        formats: Names of formats; all if empty.
        precisions: Names of precisions; all if empty.
    """
    for format in known_formats():
        runs = any(target_named(name).find().present for name in format.targets)
        for precision in format.precisions:
            wanted = not formats or format.name in formats
            if runs and wanted and (not precisions or precision in precisions):
                yield WrittenPrecision(format, precision)


def write(
    checkpoint: Path, kind: WrittenPrecision, calibration: Path, folder: Path
) -> WrittenPrecision:
    """Export a checkpoint. Files of an earlier export are replaced.

    Args:
        checkpoint: Checkpoint of the trained network.
        kind: Format and precision.
        calibration: Images for the calibration of quantised files.
        folder: Folder of all files, with a subfolder for each precision.

    Raises:
        InputError: The export failed. The text is that of the command.
    """
    out = folder / kind.precision
    options = ["--to", kind.format.name, "--precision", kind.precision, "--out", out, "--force"]
    if precision_named(kind.precision).is_calibrated:
        options += ["--calibration", calibration]
    run_command("export", checkpoint, *options)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    (size,) = (each["bytes"] for each in manifest["files"] if each["format"] == kind.format.name)
    return replace(kind, path=out / f"{checkpoint.stem}{kind.format.suffix}", size=size)


def evaluate(
    checkpoint: Path, files: Sequence[WrittenPrecision], data: Path, result: Path
) -> Record:
    """Evaluate the trained network and its files on the same images.

    Args:
        checkpoint: Checkpoint of the trained network, which comes first in the record.
        files: Files, in the order of the record.
        data: Images that were used neither for training nor for calibration.
        result: Path for the result of the evaluation.

    Raises:
        InputError: The evaluation failed. The text is that of the command.
    """
    paths = [each.path for each in files]
    run_command("evaluate", *paths, "--against", checkpoint, "--data", data, "--json", result)
    return read(result)


def run_command(*arguments: object, starter: str = "") -> str:
    """Run a command of slide-deploy in a process of its own and return its standard output.

    Args:
        arguments: Arguments of the command; ``--quiet`` is added.
        starter: Python code that starts it, with its command line as arguments.

    Raises:
        InputError: The command failed. The text is that of the command.
    """
    words = ["-m", "slide_deploy", *map(str, arguments), "--quiet"]
    before = [sys.executable, "-c", starter] if starter else []
    done = subprocess.run(
        [*before, sys.executable, *words],
        env=python_environment(Path(__file__).parents[2]),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"{' '.join(words[1:])}: {last[0]}")
    return done.stdout
