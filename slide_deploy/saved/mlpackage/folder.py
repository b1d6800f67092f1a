"""Find the files of a package through its manifest, and read only files inside the package.

A package is an untrusted folder. Its manifest and its program name other files, and a name is used
only if it leads, with symbolic links resolved, to a regular file inside the package.
"""

import json
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.saved.untrusted import damaged, file_inside

# Neither file holds weights, so both are small. The limits bound memory, because a parsed protobuf
# can take many times the size of its file.
MAX_MANIFEST_BYTES = 1 << 20
MAX_MODEL_BYTES = 8 << 20


def read_limited(package: Path, file: Path, limit: int) -> bytes:
    """Return the content of a file of the package, which may have at most ``limit`` bytes.

    Raises:
        InputError: if the file cannot be read, or is larger.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(limit + 1)
    except OSError as error:
        raise InputError(
            f"{package} cannot be read, {file.name}: {error.strerror}; check its permissions."
        ) from error
    if len(content) > limit:
        raise InputError(
            f"{package} has a {file.name} of more than {limit >> 20} MiB, which no vision model "
            f"needs: export it with its weights in the weight file."
        )
    return content


def find_model(package: Path) -> Path:
    """Return the ``.mlmodel`` file that is the root model of the manifest.

    Raises:
        InputError: if ``package`` is not a package, or its manifest is missing, damaged or names a
            file outside the package.
    """
    if not package.exists():
        raise InputError(f"{package} does not exist: check the name of the package.")
    if not package.is_dir():
        raise InputError(f"{package} is not a folder: name the .mlpackage folder itself.")
    if not (package / "Manifest.json").exists():
        raise InputError(
            f"{package} has no Manifest.json, so it is not an .mlpackage: name the folder whose "
            f"name ends in .mlpackage, or copy it again."
        )
    manifest = file_inside(package, package, "Manifest.json", "its manifest")
    entry = _root_entry(package, read_limited(package, manifest, MAX_MANIFEST_BYTES))
    return file_inside(package, package / "Data", entry, "its model")


def _root_entry(package: Path, text: bytes) -> str:
    """Return the path, below ``Data``, of the manifest's root model."""
    try:
        manifest: Any = json.loads(text)
        path = manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise damaged(package, "Manifest.json does not name the root model") from error
    if not isinstance(path, str):
        raise damaged(package, "Manifest.json does not name the root model")
    return path
