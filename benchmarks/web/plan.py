"""The plan of a page, and the run that the page fills in."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.candidates import candidate_name
from benchmarks.measuring.race import RacePlan
from benchmarks.record import RECORD_VERSION, Artifact, Candidate, Measurement, Run
from slide_deploy import __version__
from slide_deploy.backends.web import assets
from slide_deploy.backends.web.site import Resource
from slide_deploy.files.companions import files_of
from slide_deploy.verification.reference_outputs.record import Reference
from slide_deploy.verification.reference_outputs.reference_file import (
    read_reference,
    reference_path,
)


@dataclass(frozen=True)
class PagePlan:
    """The plan of a page.

    Attributes:
        document: The plan as plain data, for the page.
        files: Models, their companions and reference outputs, by address.
        devices: Devices of the candidates.
        references: Reference outputs of each candidate; None if its file has none.
    """

    document: dict[str, Any]
    files: Mapping[str, Resource]
    devices: tuple[str, ...]
    references: tuple[Reference | None, ...]


def page_plan(plan: RacePlan, threads: int | None) -> PagePlan:
    """Return the plan of a page.

    Args:
        plan: Plan with candidates from `candidates.elsewhere` and the artifacts of their files.
        threads: Threads per call; None lets the page choose.

    Raises:
        InputError: Reference outputs are damaged.
    """
    files: dict[str, Resource] = {}
    folders: dict[Path, str] = {}
    on_wasm = {each.path for each in plan.candidates if device_of(each) == "wasm"}
    entries, references = [], []
    for candidate in plan.candidates:
        path = Path(candidate.path)
        if path not in folders:
            folders[path] = f"model/{len(folders)}/"
            files |= {folders[path] + name: part for name, part in _parts(path).items()}
        folder = folders[path]
        beside = [name for name in files_of(path) if name != path.name]
        reference = folder + reference_path(path).name
        references.append(read_reference(path))
        entries.append(
            {
                "device": device_of(candidate),
                "threads": threads,
                "model": folder + path.name,
                "externals": {name: folder + name for name in beside},
                "reference": reference if reference in files else None,
                "refused": refused(references[-1], plan.artifacts.get(candidate.name)),
                "measurement": _blank(plan, candidate),
                "fallback": None
                if candidate.path in on_wasm
                else _blank(plan, candidate, _on_wasm(candidate)),
            }
        )
    run = Run(RECORD_VERSION, __version__, "", plan.seconds, {}, ())
    document = {
        "candidates": entries,
        "seconds": plan.seconds,
        "rounds": plan.rounds,
        "warm_up": plan.warm_up,
        "runtime": {
            "wasm": ["runtime/" + name for name in assets.WASM],
            "gpu": ["runtime/" + name for name in assets.GPU],
        },
        "run": asdict(run),
        "post": None,
    }
    devices = tuple(dict.fromkeys(map(device_of, plan.candidates)))
    return PagePlan(document, files, devices, tuple(references))


def device_of(candidate: Candidate) -> str:
    """Return the device of a candidate's target: "wasm" for "web:wasm"."""
    return candidate.target.partition(":")[2]


def _parts(path: Path) -> dict[str, Resource]:
    """Return a model's files and reference outputs, by their path relative to it."""
    parts: dict[str, Resource] = dict(files_of(path))
    reference = reference_path(path)
    if reference.is_file():
        parts[reference.name] = reference
    return parts


def refused(reference: Reference | None, artifact: Artifact | None) -> str | None:
    """Return why a file must not be opened, or None.

    Args:
        reference: Its reference outputs.
        artifact: The file as it is now.
    """
    if reference is None or artifact is None or artifact.sha256 == reference.model_sha256:
        return None
    return "wrong: the file differs from the one that was verified at its export: export it again"


def _blank(
    plan: RacePlan, candidate: Candidate, renamed: Candidate | None = None
) -> dict[str, Any]:
    """Return a measurement without figures and without the folders of this machine."""
    shown = replace(renamed or candidate, path=Path(candidate.path).name)
    return asdict(Measurement(shown, plan.artifacts.get(candidate.name)))


def _on_wasm(candidate: Candidate) -> Candidate:
    """Return the candidate for WebAssembly, the fallback if its device is missing."""
    label = candidate.name.partition(" on web:")[0]
    name = candidate_name(label, "web:wasm", candidate.configuration)
    return replace(candidate, name=f"{name} instead of {candidate.target}", target="web:wasm")
