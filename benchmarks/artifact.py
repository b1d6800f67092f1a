"""The file that is measured: what it is, what it costs, and which files belong to it.

For the workstation: devices get the answers with the bundle, since reading graphs takes libraries
that they need not have.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.record import Artifact
from slide_deploy.errors import InputError
from slide_deploy.formats import find_format
from slide_deploy.graph_checks import Graph, inspect, read_graph, traffic
from slide_deploy.hashing import sha256


@dataclass(frozen=True)
class _Costs:
    """Of one image; None where they cannot be counted."""

    macs: int | None = None
    parameters: int | None = None
    traffic: int | None = None


def describe_artifact(path: Path) -> Artifact:
    """What is known of a file, or a package folder, and its companions.

    The hash of one file or folder is that of the manifest; of several files it is made of theirs
    as `hashing.sha256` makes it for a folder. Costs stay unknown where the graph cannot be read.

    Raises:
        InputError: the file does not exist.
    """
    graph = _graph(path)
    parts = _parts(path, graph)
    digests = {name: sha256(part) for name, part in parts.items()}
    costs = _Costs() if graph is None else _costs(graph)
    return Artifact(
        name=path.name,
        sha256=_together(digests),
        size=sum(item.stat().st_size for item in _files(parts).values()),
        macs=costs.macs,
        parameters=costs.parameters,
        traffic=costs.traffic,
        accuracy=_accuracy(path.parent / "manifest.json", digests),
    )


def files_of(path: Path) -> dict[str, Path]:
    """Every regular file that a model needs to run, by its path beside the model, sorted.

    Raises:
        InputError: the model does not exist.
    """
    return _files(_parts(path, _graph(path)))


def _graph(path: Path) -> Graph | None:
    """The graph; None where no reader takes it."""
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    try:
        return read_graph(path)
    except InputError:
        # Damaged, or of a format that only its runtime can read: measuring will tell.
        return None


def _parts(path: Path, graph: Graph | None) -> dict[str, Path]:
    """The file or folder itself and its companions, by their paths beside it."""
    parts = {path.name: path}
    if path.is_dir():
        return parts
    folder = path.parent.resolve()
    usual = [path.with_name(path.name + ".data"), path.with_name(path.name + "_data")]
    format = find_format(path)
    if format is not None:
        usual += [path.with_suffix(suffix) for suffix in format.companions]
    for item in [item for item in usual if item.is_file()] if graph is None else graph.files:
        if item != path:
            # A reader resolves links in the names of companions.
            home = folder if item.is_relative_to(folder) else path.parent
            parts[item.relative_to(home).as_posix()] = item
    return parts


def _files(parts: dict[str, Path]) -> dict[str, Path]:
    """The same, with folders taken apart into their files."""
    found: dict[str, Path] = {}
    for name, part in parts.items():
        if part.is_dir():
            inside = [item for item in part.rglob("*") if item.is_file()]
            found |= {f"{name}/{item.relative_to(part).as_posix()}": item for item in inside}
        else:
            found[name] = part
    return dict(sorted(found.items()))


def _together(digests: dict[str, str]) -> str:
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name}\0{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _costs(graph: Graph) -> _Costs:
    try:
        counted = inspect(graph)
        return _Costs(counted.macs, counted.parameters, traffic(graph))
    except Exception:
        # Counting is a courtesy: a graph that it trips over may still be measured.
        return _Costs()


def _accuracy(manifest: Path, digests: dict[str, str]) -> float | None:
    """The share of right answers that a manifest states of exactly these files."""
    try:
        entries = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        stated = [entry.get("accuracy") for entry in entries if entry["sha256"] == digests]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return next((float(share) for share in stated if _is_share(share)), None)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
