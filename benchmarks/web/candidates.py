"""Candidates that another device measures, on targets that this machine may lack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from benchmarks.candidates import candidate_name, labels
from benchmarks.record import Candidate, Configuration
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class PagePlace:
    """Place where candidates are measured.

    Attributes:
        name: Name in error messages.
        targets: Its targets. The first is the default.
        suffixes: Suffixes of the files that it runs.
    """

    name: str
    targets: tuple[str, ...]
    suffixes: tuple[str, ...]


BROWSER = PagePlace("A browser", ("web:wasm", "web:webgpu", "web:webnn"), (".onnx",))
BINARY = PagePlace("The program of --adb-binary", ("litert:adb",), (".tflite",))


@dataclass(frozen=True)
class WantedPage:
    """Settings of the candidates of each file.

    Attributes:
        targets: Names of targets; empty for the default.
        batches: Images per call.
        shapes: Shapes of inputs, by name.
    """

    targets: Sequence[str] = ()
    batches: Sequence[int] = (1,)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def elsewhere(files: Sequence[Path], place: PagePlace, wanted: WantedPage) -> tuple[Candidate, ...]:
    """Return one candidate for each file, target and batch, in the order of the files.

    They have one thread until the device reports its number of cores.

    Raises:
        InputError: A file is missing, the place cannot run it, or the place lacks a target.
    """
    for name in wanted.targets:
        if name not in place.targets:
            known = ", ".join(place.targets)
            raise InputError(f"{place.name} measures {known}, but not {name}: remove --target.")
    for file in files:
        if not file.exists():
            raise InputError(f"{file} does not exist: check its name.")
        if file.suffix not in place.suffixes:
            kinds = ", ".join(place.suffixes)
            raise InputError(f"{place.name} cannot run {file}: give files that end in {kinds}.")
    found: dict[str, Candidate] = {}
    targets = tuple(wanted.targets) or place.targets[:1]
    for (file, label), target, batch in product(
        zip(files, labels(files), strict=True), targets, wanted.batches
    ):
        configuration = Configuration(batch=batch, shapes=dict(wanted.shapes))
        name = candidate_name(label, target, configuration)
        if name in found:
            raise InputError(f"{name} was given twice: give each file, target and batch once.")
        found[name] = Candidate(name, str(file), target, configuration)
    return tuple(found.values())
