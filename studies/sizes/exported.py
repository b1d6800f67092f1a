"""Exports one published size with random weights, and records time, memory and error."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.baselines.registry import Built, write_baseline
from benchmarks.baselines.subject import SuiteSubject, network
from benchmarks.precisions.files import run_command
from slide_deploy.files.writing import draft_of
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks import inspect, read_graph
from slide_deploy.hosts.host import Architecture

# The peak of a process includes that of its parent, so a small process starts it.
_MEASURED = (
    "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
)


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
    sized = ("export", checkpoint, "--image-size", "x".join(map(str, config.image_size)), "--force")
    printed = run_command(*sized, "--to", "all", "--out", folder / "files", starter=_MEASURED)
    # Bytes on macOS, kilobytes elsewhere.
    peak = int(printed.split()[-1]) * (1 if sys.platform == "darwin" else 1024)
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
        worst=max(
            case["agreement"]["max_relative"]
            for each in files
            for case in each["verification"]["cases"]
        ),
    )


def _macs(size: Architecture, path: Path) -> int:
    def build(subject: SuiteSubject) -> Built:
        return reparameterize(subject.branched())[0], (subject.example(),)

    write_baseline(build, network(size.name, size.config.image_size), path)
    return inspect(read_graph(path)).counted_macs
