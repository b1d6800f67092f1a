"""What the manifest of an export says of the reference outputs beside it.

A device that was handed a file without its manifest has nothing to hold them against.
"""

from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256
from slide_deploy.files.reading import read_json

MANIFEST = "manifest.json"


def refuse_others(path: Path) -> None:
    """Refuse reference outputs that are not those which the manifest beside them records.

    Args:
        path: of the reference outputs.

    Raises:
        InputError: if the manifest has another hash of them.
    """
    stated = _stated(path.with_name(MANIFEST), path.name)
    if stated and sha256(path) not in stated:
        raise InputError(
            f"{path} is not what the export wrote, as {MANIFEST} beside it says: export the file "
            f"again."
        )


def _stated(manifest: Path, name: str) -> set[str]:
    """The hashes that a manifest has of a file of reference outputs; none where it has no entry."""
    try:
        entries = read_json(manifest)["files"]
        recorded = [entry.get("reference_outputs") or {} for entry in entries]
        return {str(each[name]) for each in recorded if name in each}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
