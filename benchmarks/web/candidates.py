"""Candidates that another device measures: files on targets that this machine need not have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from benchmarks.candidates import candidate_name, labels
from benchmarks.record import Candidate, Configuration
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class PagePlace:
    """Where candidates are measured.

    Attributes:
        name: for sentences.
        targets: that there are; the first is the default.
        suffixes: of the files that run there.
    """

    name: str
    targets: tuple[str, ...]
    suffixes: tuple[str, ...]


BROWSER = PagePlace("A browser", ("web:wasm", "web:webgpu", "web:webnn"), (".onnx",))
BINARY = PagePlace("The program of --adb-binary", ("litert:adb",), (".tflite",))


@dataclass(frozen=True)
class WantedPage:
    """What is measured of each file.

    Attributes:
        targets: that were named; empty for the default.
        batches: images a call.
        shapes: of inputs by name.
    """

    targets: Sequence[str] = ()
    batches: Sequence[int] = (1,)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def elsewhere(files: Sequence[Path], place: PagePlace, wanted: WantedPage) -> tuple[Candidate, ...]:
    """One for each file on each target with each batch, in the order of the files.

    Their threads are one until the device has told how many it has.

    Raises:
        InputError: if a file is missing or does not run there, or a target is none of the place's.
    """
    for name in wanted.targets:
        if name not in place.targets:
            known = ", ".join(place.targets)
            raise InputError(f"{place.name} measures {known}, and not {name}: leave --target out.")
    for file in files:
        if not file.exists():
            raise InputError(f"{file} does not exist: check its name.")
        if file.suffix not in place.suffixes:
            kinds = ", ".join(place.suffixes)
            raise InputError(f"{place.name} runs no {file}: give it files that end in {kinds}.")
    found: dict[str, Candidate] = {}
    targets = tuple(wanted.targets) or place.targets[:1]
    for (file, label), target, batch in product(
        zip(files, labels(files), strict=True), targets, wanted.batches
    ):
        configuration = Configuration(batch=batch, shapes=dict(wanted.shapes))
        name = candidate_name(label, target, configuration)
        if name in found:
            raise InputError(f"{name} was named twice: name each file, target and batch once.")
        found[name] = Candidate(name, str(file), target, configuration)
    return tuple(found.values())
