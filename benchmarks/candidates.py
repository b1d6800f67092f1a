"""What the user asked for as candidates: files × targets × batch sizes × streams."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from benchmarks.record import Candidate, Configuration
from slide_deploy.backends.base import Target
from slide_deploy.backends.registry import targets_for, timed_target_named
from slide_deploy.errors import InputError
from slide_deploy.files.companions import graph_of
from slide_deploy.formats import find_format
from slide_deploy.graph_checks.declarations import PRECISION_KEY
from slide_deploy.precisions import FLOAT32, known_precisions


@dataclass(frozen=True)
class Sweep:
    """Everything that is varied; each combination becomes a candidate.

    Attributes:
        targets: by name; none for the first that is present here, file by file.
        batches: images of one call.
        streams: calls in flight at a time.
        configuration: all that is not varied.
        as_claimed: whether each target computes in what the file claims to be made for, in the
            place of the configuration's precision.
    """

    targets: tuple[str, ...] = ()
    batches: tuple[int, ...] = (1,)
    streams: tuple[int, ...] = (1,)
    configuration: Configuration = field(default_factory=Configuration)
    as_claimed: bool = False

    def configured(self, file: Path, target: str, configuration: Configuration) -> Configuration:
        """A configuration for a file on a target, in the precision that is meant."""
        if not self.as_claimed:
            return configuration
        return replace(configuration, precision=_claimed(file, target))


def _claimed(file: Path, target: str) -> str:
    """What a target is told to compute in for a file, by the precision that the file claims."""
    graph = graph_of(file) if find_format(file) is not None else None
    claim = "" if graph is None else graph.metadata.get(PRECISION_KEY, "")
    record = next((each for each in known_precisions() if each.name == claim), FLOAT32)
    return record.computed_in.get(target, FLOAT32.name)


def candidates(files: Sequence[Path], sweep: Sweep) -> tuple[Candidate, ...]:
    """One for each file on each target that runs its kind, in the order of the files.

    A name says what stands apart: "tiny.onnx on onnxruntime:cpu, batch 8, 2 streams". It is the
    same from run to run, so that runs can be compared.

    Raises:
        InputError: if a file is missing, or no target that was named runs it, or one that was named
            runs none.
    """
    for file in files:
        if not file.exists():
            raise InputError(f"{file} does not exist: check its name.")
    chosen = {file: _targets(file, sweep.targets) for file in files}
    for name in sweep.targets:
        if not any(name in found for found in chosen.values()):
            kinds = ", ".join(timed_target_named(name).suffixes)
            raise InputError(f"{name} runs none of the files: give it one that ends in {kinds}.")
    sizes = [
        replace(sweep.configuration, batch=batch, streams=streams)
        for batch, streams in product(sweep.batches, sweep.streams)
    ]
    found = []
    for file, label in zip(files, labels(files), strict=True):
        for target in chosen[file]:
            # Read once: a large file takes seconds.
            precision = sweep.configured(file, target, sizes[0]).precision
            for size in (replace(each, precision=precision) for each in sizes):
                name = candidate_name(label, target, size)
                found.append(Candidate(name, str(file), target, size))
    return _apart(found)


def candidate_name(
    label: str, target: str, configuration: Configuration, image_size: str = ""
) -> str:
    """What tables and comparisons know a candidate by.

    Args:
        label: of the file.
        target: that runs it.
        configuration: of which the precision is said where it is another than float32, and batch
            and streams where they are not 1.
        image_size: where candidates differ by it.
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
    possible = tuple(map(timed_target_named, wanted)) or _timed_for(file)
    if wanted:
        found = tuple(target.name for target in possible if file.suffix.lower() in target.suffixes)
        if not found:
            kinds = ", ".join(
                dict.fromkeys(kind for target in possible for kind in target.suffixes)
            )
            raise InputError(
                f"{file} runs on none of the targets, which run {kinds}: name another."
            )
        return found
    if not possible:
        raise InputError(
            f"{file} is proved here and not timed, as no target for its kind has a speed that says "
            f"anything of a device: use slide-deploy verify."
        )
    for target in possible:
        if target.find().present:
            return (target.name,)
    hints = "; ".join(f"{target.name}: {target.find().detail}" for target in possible[:2])
    raise InputError(f"Nothing here runs {file} ({hints}).")


def _timed_for(file: Path) -> tuple[Target, ...]:
    """The targets of a kind of files whose speed means something."""
    return tuple(target for target in targets_for(file) if target.is_timed)


def labels(files: Sequence[Path]) -> list[str]:
    """Names of files, with as much of their folders as it takes to tell them apart."""
    names = [file.name for file in files]
    if len(set(names)) == len(set(files)):
        return names
    parents = [str(file.absolute()) for file in files]
    common = os.path.commonpath([os.path.dirname(parent) for parent in parents])
    return [Path(os.path.relpath(parent, common)).as_posix() for parent in parents]


def _apart(found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Numbers for those that were named twice: a run of a file against itself is a fair wish."""
    seen: dict[str, int] = {}
    named = []
    for each in found:
        seen[each.name] = seen.get(each.name, 0) + 1
        number = seen[each.name]
        named.append(each if number == 1 else replace(each, name=f"{each.name} #{number}"))
    return tuple(named)
