"""Turns the user's options into candidates: files × targets × batch sizes × streams."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from benchmarks.record import Candidate, Configuration
from slide_deploy.backends.registry import targets_for, timed_target_named
from slide_deploy.errors import InputError
from slide_deploy.files.companions import graph_of
from slide_deploy.formats import find_format
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.precisions import FLOAT32, known_precisions


@dataclass(frozen=True)
class Sweep:
    """Settings that are varied. Each combination becomes a candidate.

    Attributes:
        targets: Names of targets. If empty, each file runs on the first installed target for it.
        batches: Images per call.
        streams: Concurrent calls.
        configuration: Settings that are not varied.
        as_claimed: Whether each target computes in the precision that the file declares, instead
            of the configuration's precision.
    """

    targets: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    streams: tuple[int, ...] = (1,)
    configuration: Configuration = field(default_factory=Configuration)
    as_claimed: bool = False

    def configured(self, file: Path, target: str, configuration: Configuration) -> Configuration:
        """Return the configuration for a file on a target, with the right precision."""
        if not self.as_claimed:
            return configuration
        return replace(configuration, precision=_claimed(file, target))


def _claimed(file: Path, target: str) -> str:
    """Return the compute precision of a target for the precision that the file declares."""
    graph = graph_of(file) if find_format(file) is not None else None
    claim = "" if graph is None else graph.metadata.get(PRECISION_KEY, "")
    record = next((each for each in known_precisions() if each.name == claim), FLOAT32)
    return record.computed_in.get(target, FLOAT32.name)


def candidates(files: Sequence[Path], sweep: Sweep) -> tuple[Candidate, ...]:
    """Return one candidate for each file on each target that runs it, in the order of the files.

    Names contain what differs: "tiny.onnx on onnxruntime:cpu, batch 8, 2 streams". They are the
    same in every run, so that runs can be compared.

    Raises:
        InputError: A file is missing, none of the named targets runs a file, or a named target
            runs none of the files.
    """
    for file in files:
        if not file.exists():
            raise InputError(f"{file} does not exist: check its name.")
    chosen = {file: _targets(file, sweep.targets) for file in files}
    for name in sweep.targets:
        if not any(name in found for found in chosen.values()):
            kinds = ", ".join(timed_target_named(name).suffixes)
            raise InputError(f"{name} runs none of the files: give one that ends in {kinds}.")
    sizes = [
        replace(sweep.configuration, batch=batch, streams=streams)
        for batch, streams in product(sweep.batches, sweep.streams)
    ]
    found = []
    for file, label in zip(files, labels(files), strict=True):
        for target in chosen[file]:
            # Outside the inner loop, because reading a large file takes seconds.
            precision = sweep.configured(file, target, sizes[0]).precision
            for size in (replace(each, precision=precision) for each in sizes):
                name = candidate_name(label, target, size)
                found.append(Candidate(name, str(file), target, size))
    return _numbered(found)


def candidate_name(
    label: str, target: str, configuration: Configuration, image_size: str = ""
) -> str:
    """Return the name of a candidate for tables and comparisons.

    Args:
        label: Label of the file.
        target: Name of the target.
        configuration: Settings. The name contains the precision unless it is float32, and the
            batch and the streams unless they are 1.
        image_size: Image size, if candidates differ in it.
    """
    parts = [f"{label} on {target}"]
    if image_size:
        parts.append(image_size)
    if configuration.precision not in (FLOAT32.name, "default"):
        parts.append(configuration.precision)
    if configuration.batch != 1:
        parts.append(f"batch {configuration.batch}")
    if configuration.streams != 1:
        parts.append(f"{configuration.streams} streams")
    return ", ".join(parts)


def _targets(file: Path, wanted: Sequence[str]) -> tuple[str, ...]:
    if wanted:
        possible = tuple(map(timed_target_named, wanted))
        found = tuple(target.name for target in possible if file.suffix.lower() in target.suffixes)
        if not found:
            kinds = ", ".join(
                dict.fromkeys(kind for target in possible for kind in target.suffixes)
            )
            raise InputError(
                f"{file} runs on none of the targets, which run {kinds}: name another target."
            )
        return found
    # Without names, those whose latency represents a real device.
    possible = tuple(target for target in targets_for(file) if target.is_timed)
    if not possible:
        raise InputError(
            f"{file} can be verified here but not timed, as no target for this format has the "
            f"speed of a real device: use slide-deploy verify."
        )
    for target in possible:
        if target.find().present:
            return (target.name,)
    hints = "; ".join(f"{target.name}: {target.find().detail}" for target in possible[:2])
    raise InputError(f"No installed runtime runs {file}: install one ({hints}).")


def labels(files: Sequence[Path]) -> list[str]:
    """Return file names, with the part of their folders that distinguishes equal names."""
    names = [file.name for file in files]
    if len(set(names)) == len(set(files)):
        return names
    parents = [str(file.absolute()) for file in files]
    common = os.path.commonpath([os.path.dirname(parent) for parent in parents])
    return [Path(os.path.relpath(parent, common)).as_posix() for parent in parents]


def _numbered(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Number candidates of the same name, as a file may be raced against itself."""
    seen: dict[str, int] = {}
    named = []
    for each in found:
        seen[each.name] = seen.get(each.name, 0) + 1
        number = seen[each.name]
        named.append(each if number == 1 else replace(each, name=f"{each.name} #{number}"))
    return tuple(named)
