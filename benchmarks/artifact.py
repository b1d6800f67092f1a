"""Identity and computational cost of the measured file.

This module runs on the workstation only, as devices may lack the libraries that read graphs. A
bundle contains the results.
"""

from pathlib import Path
from typing import Any

from benchmarks.record import Artifact
from slide_deploy.files.companions import digest_of, digests_of, files_in, graph_of, parts_of
from slide_deploy.files.reading import read_json
from slide_deploy.graph_checks import Graph, inspect, traffic


def describe_artifact(path: Path) -> Artifact:
    """Describe a model file, or a package folder, with its companions.

    Costs are None if the graph cannot be read.

    Raises:
        InputError: The file does not exist.
    """
    graph = graph_of(path)
    parts = parts_of(path, graph)
    digests = digests_of(parts)
    return Artifact(
        name=path.name,
        sha256=digest_of(digests),
        size=sum(item.stat().st_size for item in files_in(parts).values()),
        **({} if graph is None else _costs(graph)),
        accuracy=_accuracy(path.parent / "manifest.json", digests),
        calibration=_calibration(path.parent / "manifest.json", digests),
    )


def _costs(graph: Graph) -> dict[str, Any]:
    """Return the costs of one image, as fields of `Artifact`."""
    try:
        counted = inspect(graph)
        macs, parameters = counted.macs, counted.parameters
        return {"macs": macs, "parameters": parameters, "traffic": traffic(graph)}
    except Exception:
        # A file whose graph cannot be counted can still be measured.
        return {}


def _accuracy(manifest: Path, digests: dict[str, str]) -> float | None:
    """Return the top-1 accuracy that a manifest has for exactly these files."""
    found = _manifest_values(manifest, digests, "accuracy")
    return next((float(share) for share in found if _is_share(share)), None)


def _calibration(manifest: Path, digests: dict[str, str]) -> str:
    """Return the calibration data that a manifest has for exactly these files."""
    for each in _manifest_values(manifest, digests, "calibration"):
        if isinstance(each, dict) and isinstance(each.get("source"), str):
            return f"{each.get('measured')} examples of {Path(each['source']).name}"
    return ""


def _manifest_values(manifest: Path, digests: dict[str, str], key: str) -> list[Any]:
    """Return the values of a key in the manifest's entries for exactly these files."""
    try:
        entries = read_json(manifest)["files"]
        return [entry.get(key) for entry in entries if entry["sha256"] == digests]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
