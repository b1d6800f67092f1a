"""Candidates that another device measures, on targets that this machine may lack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


def elsewhere(
    files: Sequence[Path],
    place: PagePlace,
    targets: Sequence[str] = (),
    batches: Sequence[int] = (1,),
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> tuple[Candidate, ...]:
    """Return one candidate for each file, target and batch, in the order of the files.

    They have one thread until the device reports its number of cores.

    Args:
        files: Model files.
        place: Place where they are measured.
        targets: Names of targets; empty for the default.
        batches: Images per call.
        shapes: Shapes of inputs, by name.

    Raises:
        InputError: A file is missing, the place cannot run it, or the place lacks a target.
    """
    for name in targets:
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
    for (file, label), target, batch in product(
        zip(files, labels(files), strict=True), targets or place.targets[:1], batches
    ):
        configuration = Configuration(batch=batch, shapes=dict(shapes or {}))
        name = candidate_name(label, target, configuration)
        if name in found:
            raise InputError(f"{name} was given twice: give each file, target and batch once.")
        found[name] = Candidate(name, str(file), target, configuration)
    return tuple(found.values())
