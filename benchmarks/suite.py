"""A suite: a TOML file that names candidates, targets and sizes.

    name = "Slide-Swin-T, 224"
    targets = ["onnxruntime:cpu", "openvino:cpu"]
    image_sizes = ["224"]                  # optional, as are batches and streams

    [[candidate]]
    name = "ours"
    checkpoint = "model.pth"               # or architecture = "slide_swin_tiny", random weights
    export = { precision = "float32" }     # options of slide-deploy export
    accuracy = 0.813                       # optional, for plots: top-1 of this file;
                                           # published_accuracy: top-1 in a publication
    line = "Slide-Swin"                    # optional: the plot joins candidates of one line
    arithmetic = "bfloat16"                # optional, as in slide-deploy bench --precision
    environment = { ONEDNN_MAX_CPU_ISA = "AVX2" }  # optional, for its process

    [[candidate]]
    name = "exported elsewhere, folded"
    checkpoint = "model.onnx"              # its network is read, folded and exported again
    input = ["image=1x3x640x640"]          # only if the file leaves more than the batch open

    [[candidate]]
    name = "custom network"
    model = "net:build"                    # as in --model, found beside the suite
    model_args = { dim = 96 }              # optional, or a list
    weights_file = "weights.pth"           # optional
    input = ["image=1x3x640x640"]          # as in --input, one text for each input

    [[candidate]]
    name = "branched"
    baseline = "branched"                  # see benchmarks/baselines/registry.py
    architecture = "slide_swin_tiny"       # or attention = "96x56x56"

    [[candidate]]
    name = "last week's file"
    file = "old/model.onnx"

Paths are relative to the suite. A checkpoint, an architecture or a model is exported to one file
for each runtime, a baseline to one ``.onnx`` file. A file is exported again only if the checkpoint,
the code of slide-deploy, the tuning table that chooses its lowering, or the code of the model has
changed. The code of a model is all files of its package, or those beside it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from benchmarks.candidates import Sweep, candidate_name
from benchmarks.record import Artifact, Candidate
from slide_deploy import __version__
from slide_deploy.backends.registry import timed_target_named
from slide_deploy.deployable.model_text import ModelText
from slide_deploy.errors import InputError
from slide_deploy.files.companions import model_digest
from slide_deploy.files.hashing import code_digest, sha256
from slide_deploy.files.model_files import is_source
from slide_deploy.files.reading import parse_toml, read_text
from slide_deploy.files.validation import validated
from slide_deploy.formats import format_run_on
from slide_deploy.parsing import parse_size
from slide_deploy.tuning.store import tables_digest


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class SuiteEntry(_Strict):
    """One entry of a suite. Each target and size makes a candidate of it."""

    name: str = Field(min_length=1)
    file: str | None = None
    checkpoint: str | None = None
    architecture: str | None = None
    attention: str | None = None
    model: str | None = None
    model_args: dict[str, Any] | list[Any] | None = None
    weights_file: str | None = None
    input: list[str] = Field(default_factory=list)
    baseline: str | None = None
    export: dict[str, str | bool] = Field(default_factory=dict)
    targets: list[str] | None = None
    accuracy: float | None = Field(None, ge=0, le=1)
    published_accuracy: float | None = Field(None, ge=0, le=1)
    line: str = ""
    arithmetic: str = ""
    environment: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_source(self) -> "SuiteEntry":
        sources = [self.file, self.checkpoint, self.architecture, self.attention, self.model]
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give one of file, checkpoint, architecture, attention and model")
        if self.model is not None and not self.input:
            raise ValueError('a model needs its input, as ["1x3x224x224"]')
        if self.model is None and (self.model_args is not None or self.weights_file is not None):
            raise ValueError("model_args and weights_file require a model")
        if self.model is None and self.input and not is_source(Path(self.checkpoint or "")):
            raise ValueError("input requires a model, or a checkpoint that is an .onnx file")
        if self.baseline is not None and self.architecture is None and self.attention is None:
            raise ValueError("a baseline requires an architecture or an attention")
        if self.accuracy is not None and self.published_accuracy is not None:
            raise ValueError("give accuracy (of this file) or published_accuracy, not both")
        return self


class Suite(_Strict):
    """Entries, targets and sizes to race."""

    name: str = Field(min_length=1)
    targets: list[str] = Field(min_length=1)
    image_sizes: list[str] = Field(default=["224"], min_length=1)
    batches: list[int] = Field(default=[1], min_length=1)
    streams: list[int] = Field(default=[1], min_length=1)
    candidate: list[SuiteEntry] = Field(min_length=1)


@dataclass(frozen=True)
class WantedFile:
    """A file that slide-deploy exports for a suite.

    Attributes:
        entry: Entry of the suite, with a checkpoint, an architecture, an attention or a model.
        base: Folder of the suite, which paths are relative to. It contains the code of a model.
        image_size: "224" or "512x768"; None if the checkpoint or the model determines it.
        format: Name in `slide_deploy.formats`.
    """

    entry: SuiteEntry
    base: Path
    image_size: str | None
    format: str

    @property
    def model_args(self) -> str | None:
        """Arguments of a model's factory in JSON, as in ``--model-args``."""
        return None if self.entry.model_args is None else json.dumps(self.entry.model_args)

    def facts(self) -> dict[str, Any]:
        """Return what the file depends on, apart from the checkpoint and slide-deploy's code."""
        entry, options = self.entry, self.entry.export
        found: dict[str, Any] = {
            "format": self.format,
            "size": self.image_size,
            "export": options,
            # A changed table may choose another lowering, unless the suite names one.
            "tuning": tables_digest() if options.get("lowering", "auto") == "auto" else None,
        }
        if entry.model is None:
            return {**found, "input": entry.input}
        code = {
            os.path.relpath(path, self.base.resolve()): sha256(path)
            for path in ModelText.parse(entry.model).sources(self.base)
        }
        weights = None if entry.weights_file is None else sha256(self.base / entry.weights_file)
        model = [entry.model, self.model_args, entry.input]
        return {**found, "model": model, "weights": weights, "own code": code}


# A suite is written by hand.
_MAX_BYTES = 1 << 20
# Writes the file into a folder and returns its path.
Export = Callable[[WantedFile, Path], Path]


def read_suite(path: Path) -> Suite:
    """Read and validate a suite.

    Raises:
        InputError: The file is missing, is not TOML, or has keys or values that a suite lacks.
    """
    try:
        content = parse_toml(read_text(path, most=_MAX_BYTES))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a suite ({error}): give a TOML file."
        ) from error
    try:
        return validated(Suite, content)
    except ValueError as error:
        raise InputError(f"{path}: {error}.") from error


def candidate_count(suite: Suite, sweep: Sweep) -> int:
    """Return the number of candidates of ``members``, without exporting anything."""
    batches, streams = _sizes(suite, sweep)
    targets = sum(len(entry.targets or sweep.targets or suite.targets) for entry in suite.candidate)
    return len(suite.image_sizes) * targets * len(batches) * len(streams)


def _sizes(suite: Suite, sweep: Sweep) -> tuple[Sequence[int], Sequence[int]]:
    """Return batches and streams: those of the sweep if it sets them, else the suite's."""
    batches = sweep.batches if sweep.batches != (1,) else suite.batches
    streams = sweep.streams if sweep.streams != (1,) else suite.streams
    return batches, streams


@dataclass(frozen=True)
class Member:
    """A candidate of a suite with its accuracy from the suite.

    Attributes:
        candidate: The candidate, with its file written.
        accuracy: Top-1 accuracy of its file, if the suite has it.
        published_accuracy: Published top-1 accuracy of its network, if the suite has it.
    """

    candidate: Candidate
    accuracy: float | None = None
    published_accuracy: float | None = None

    def stated_of(self, artifact: Artifact) -> Artifact:
        """Return the artifact with the accuracy from the suite, if there is one."""
        if self.published_accuracy is not None:
            return replace(artifact, accuracy=None, published_accuracy=self.published_accuracy)
        return artifact if self.accuracy is None else replace(artifact, accuracy=self.accuracy)


def members(path: Path, work: Path, sweep: Sweep, export: Export) -> tuple[Member, ...]:
    """Write missing files and return every candidate of a suite.

    Args:
        path: Path of the suite.
        work: Folder for written files. Files from earlier calls are used again.
        sweep: Configuration, and targets and sizes that override the suite's.
        export: Writes a file of slide-deploy.

    Raises:
        InputError: The suite, or a file or name in it, cannot be used.
    """
    suite = read_suite(path)
    targets = sweep.targets or tuple(suite.targets)
    found = [
        Member(candidate, entry.accuracy, entry.published_accuracy)
        for size in suite.image_sizes
        for entry in suite.candidate
        for target in entry.targets or targets
        for candidate in _candidates(suite, entry, target, size, path, work, sweep, export)
    ]
    names = [member.candidate.name for member in found]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: two candidates are named {name}: rename one of them.")
    return tuple(found)


def _candidates(
    suite: Suite,
    entry: SuiteEntry,
    target: str,
    size: str,
    path: Path,
    work: Path,
    sweep: Sweep,
    export: Export,
) -> Iterator[Candidate]:
    file = _file(entry, target, size, path.parent, work, export)
    if file.suffix.lower() not in timed_target_named(target).suffixes:
        raise InputError(
            f"{path}: {target} does not run {file.name} of {entry.name}: name other targets for it."
        )
    batches, streams = _sizes(suite, sweep)
    fixed = (entry.file, entry.attention, entry.model)
    sized = len(suite.image_sizes) > 1 and all(each is None for each in fixed)
    for batch, stream in product(batches, streams):
        configuration = replace(
            sweep.configuration, batch=batch, streams=stream, environment=entry.environment
        )
        configuration = (
            replace(configuration, precision=entry.arithmetic)
            if entry.arithmetic
            else sweep.configured(file, target, configuration)
        )
        name = candidate_name(entry.name, target, configuration, size if sized else "")
        yield Candidate(name, str(file), target, configuration, line=entry.line)


def _file(
    entry: SuiteEntry, target: str, size: str, base: Path, work: Path, export: Export
) -> Path:
    names = ("file", "checkpoint", "weights_file")
    paths = {name: base / text for name in names if (text := getattr(entry, name)) is not None}
    for name, path in paths.items():
        if not path.exists():
            raise InputError(f"{path} does not exist: check the {name} of {entry.name}.")
    if "file" in paths:
        return paths["file"]
    checkpoint = paths.get("checkpoint")
    if checkpoint is not None and target.startswith("torch:"):
        return checkpoint
    if entry.baseline is not None:
        folder = _folder(work, entry, None, {"baseline": entry.baseline, "size": size})
        return _once(folder, lambda: _baseline_file(entry, size, folder), ".onnx")
    format = format_run_on(target)
    if format is None:
        raise InputError(
            f"slide-deploy exports no format that {target} runs: give {entry.name} a file."
        )
    image_size = None if checkpoint is not None or entry.model is not None else size
    wanted = WantedFile(entry, base, image_size, format.name)
    folder = _folder(work, entry, checkpoint, wanted.facts())
    return _once(folder, lambda: export(wanted, folder), format.suffix)


def _baseline_file(entry: SuiteEntry, size: str, folder: Path) -> Path:
    from benchmarks.baselines.registry import baseline_named, write_baseline
    from benchmarks.baselines.subject import attention, network

    assert entry.baseline is not None
    baseline = baseline_named(entry.baseline)
    if entry.attention is not None:
        subject = attention(entry.attention)
    else:
        assert entry.architecture is not None
        subject = network(entry.architecture, parse_size(size, "image size"))
    path = folder / f"{entry.baseline}.onnx"
    write_baseline(baseline, subject, path)
    return path


def _folder(work: Path, entry: SuiteEntry, checkpoint: Path | None, facts: dict[str, Any]) -> Path:
    """Return the folder of a file, named by a hash of everything that the file depends on."""
    key = {
        "version": __version__,
        "code": code_digest(),
        "checkpoint": checkpoint and _digest(checkpoint),
        "architecture": entry.architecture,
        "attention": entry.attention,
        **facts,
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    slug = re.sub(r"[^a-z0-9]+", "-", entry.name.lower()).strip("-") or "candidate"
    return work / f"{slug[:40]}-{digest}"


def _digest(checkpoint: Path) -> str:
    """Return the hash of a checkpoint, or of an ``.onnx`` file with the data that it names."""
    return model_digest(checkpoint) if is_source(checkpoint) else sha256(checkpoint)


def _once(folder: Path, make: Callable[[], Path], suffix: str) -> Path:
    """Return the file in the folder. Make it if it is missing."""
    present = sorted(folder.glob(f"*{suffix}"))
    if present:
        return present[0]
    folder.mkdir(parents=True, exist_ok=True)
    return make()
