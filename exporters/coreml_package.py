"""Saves a Core ML package so that the same model gives the same bytes.

coremltools draws new identifiers for every package, and writes the entries of a map in the order of
a hash that differs from process to process. Neither means anything to a reader.
"""

import json
import uuid
from pathlib import Path
from typing import Any

# Names the identifiers of items in packages: any constant would do.
_NAMESPACE = uuid.UUID("6f1d6b0c-2c0a-5e0b-9d52-6d1c7c2d7b1e")


def save(model: Any, path: Path) -> None:
    """Save a model of coremltools as a package.

    Args:
        model: an ``MLModel``.
        path: of the package, a folder; ends in ``.mlpackage``.
    """
    from coremltools.proto import Model_pb2

    model.save(str(path))
    names = _settle_manifest(path / "Manifest.json")
    for name in names:
        if name.endswith(".mlmodel"):
            file = path / "Data" / name
            specification = Model_pb2.Model()
            specification.ParseFromString(file.read_bytes())
            file.write_bytes(specification.SerializeToString(deterministic=True))


def _settle_manifest(path: Path) -> list[str]:
    """Name every item after its place in the package; returns the places."""
    content = json.loads(path.read_text(encoding="utf-8"))
    items = content["itemInfoEntries"]
    settled = {old: str(uuid.uuid5(_NAMESPACE, item["path"])) for old, item in items.items()}
    content["itemInfoEntries"] = {
        settled[old]: items[old] for old in sorted(items, key=lambda old: items[old]["path"])
    }
    content["rootModelIdentifier"] = settled[content["rootModelIdentifier"]]
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return [item["path"] for item in content["itemInfoEntries"].values()]
