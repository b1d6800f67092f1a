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
        **_stated(path.parent / "manifest.json", digests),
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


def _stated(manifest: Path, digests: dict[str, str]) -> dict[str, Any]:
    """Return what a manifest states of exactly these files, as fields of `Artifact`."""
    try:
        entries = read_json(manifest)["files"]
        (entry,) = (each for each in entries if each["sha256"] == digests)
        accuracy, used = entry.get("accuracy"), entry.get("calibration")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    found: dict[str, Any] = {}
    if type(accuracy) in (int, float) and 0 <= accuracy <= 1:
        found["accuracy"] = float(accuracy)
    if isinstance(used, dict) and isinstance(used.get("source"), str):
        name = Path(used["source"]).name
        found["calibration"] = f"{used.get('measured')} examples of {name}"
    return found
