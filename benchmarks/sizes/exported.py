"""Exports one published size with random weights, and records time, memory and error."""

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.baselines.registry import Baseline, Built, write_baseline
from benchmarks.baselines.subject import SuiteSubject, network
from slide_deploy.errors import InputError
from slide_deploy.files.writing import draft_of, write_text
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks import inspect, read_graph
from slide_deploy.hosts.host import Architecture
from slide_deploy.process.child_python import python_environment


@dataclass(frozen=True)
class Exported:
    """Export of one size.

    Attributes:
        name: Name of the published size.
        formats: Formats that were written and verified.
        seconds: Time of the export, with loading, folding and verifying.
        peak_bytes: Peak resident memory of its process.
        parameters: Parameters of the trained network.
        macs: Multiply-accumulates of the folded network, counted in the file that
            ``torch.onnx.export`` writes, as papers count them. Our files may have fewer, as unused
            results are removed, or more, if such a form of slide attention is faster.
        worst: Largest error of all files compared with the trained network in float64, divided by
            the largest output.
    """

    name: str
    formats: tuple[str, ...]
    seconds: float
    peak_bytes: int
    parameters: int
    macs: int
    worst: float


def export_size(size: Architecture, folder: Path) -> Exported:
    """Export a size to all formats with the command line, and count its operations.

    Args:
        size: The published size.
        folder: Folder for the files. Existing files are replaced.

    Raises:
        InputError: The export failed. The text is that of the command.
    """
    config = size.config
    model = network(size.name, config.image_size).branched()
    checkpoint = folder / f"{size.name}.pth"
    folder.mkdir(parents=True, exist_ok=True)
    parameters = sum(each.numel() for each in model.parameters())
    with draft_of(checkpoint) as draft:
        torch.save({"model": model.state_dict()}, draft)
    del model
    started = time.perf_counter()
    sized = ("export", checkpoint, "--image-size", "x".join(map(str, config.image_size)))
    peak = _run(*sized, "--to", "all", "--out", folder / "files")
    seconds = time.perf_counter() - started
    manifest = json.loads((folder / "files" / "manifest.json").read_text(encoding="utf-8"))
    files = manifest["files"]
    return Exported(
        name=size.name,
        formats=tuple(each["format"] for each in files),
        seconds=seconds,
        peak_bytes=peak,
        parameters=parameters,
        macs=_macs(size, folder / "folded.onnx"),
        worst=max(case["agreement"]["max_relative"] for each in files for case in _cases(each)),
    )


def _cases(file: dict[str, Any]) -> list[dict[str, Any]]:
    return list(file["verification"]["cases"])


def _macs(size: Architecture, path: Path) -> int:
    def build(subject: SuiteSubject) -> Built:
        return reparameterize(subject.branched())[0], (subject.example(),)

    write_baseline(Baseline("folded", build), network(size.name, size.config.image_size), path)
    return inspect(read_graph(path)).counted_macs


# The peak of a process includes that of its parent, so a small process starts it.
_MEASURED = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


def _run(*arguments: object) -> int:
    """Run a command of slide-deploy and return its peak resident memory in bytes.

    Raises:
        InputError: The command failed.
    """
    command = [sys.executable, "-m", "slide_deploy", *map(str, arguments), "--force", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, *command],
        env=python_environment(Path(__file__).parents[2]),
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise InputError(f"{' '.join(command[2:])}: {last[0]}")
    return int(done.stdout.split()[-1]) * (1 if sys.platform == "darwin" else 1024)


def save(found: Exported, path: Path) -> None:
    """Write a result."""
    write_text(path, json.dumps(asdict(found), indent=2) + "\n")


def load(path: Path) -> Exported:
    """Read a result.

    Raises:
        InputError: The file is not a result.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        return Exported(**{**fields, "formats": tuple(fields["formats"])})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is not a result of make bench-sizes: delete it.") from error
