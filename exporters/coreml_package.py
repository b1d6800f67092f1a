"""Saves Core ML packages reproducibly: the same model gives the same bytes.

coremltools generates random identifiers for every package, and writes map entries in the order of a
hash that differs between processes. Neither affects a reader.
"""

import json
import uuid
from pathlib import Path
from typing import Any

# Namespace of the identifiers of package items; the value is arbitrary.
_NAMESPACE = uuid.UUID("6f1d6b0c-2c0a-5e0b-9d52-6d1c7c2d7b1e")


def save(model: Any, path: Path) -> None:
    """Save a coremltools model as a package."""
    from coremltools.proto import Model_pb2

    model.save(str(path))
    names = _make_identifiers_stable(path / "Manifest.json")
    for name in names:
        if name.endswith(".mlmodel"):
            file = path / "Data" / name
            specification = Model_pb2.Model()
            specification.ParseFromString(file.read_bytes())
            file.write_bytes(specification.SerializeToString(deterministic=True))


def _make_identifiers_stable(path: Path) -> list[str]:
    """Derive each item's identifier from its path in the package; return these paths."""
    content = json.loads(path.read_text(encoding="utf-8"))
    items = content["itemInfoEntries"]
    stable = {old: str(uuid.uuid5(_NAMESPACE, item["path"])) for old, item in items.items()}
    content["itemInfoEntries"] = {
        stable[old]: items[old] for old in sorted(items, key=lambda old: items[old]["path"])
    }
    content["rootModelIdentifier"] = stable[content["rootModelIdentifier"]]
    path.write_text(json.dumps(content, indent=4) + "\n", encoding="utf-8")
    return [item["path"] for item in content["itemInfoEntries"].values()]
