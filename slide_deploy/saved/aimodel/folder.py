"""Read the files of an asset, an untrusted folder, and check its program against the hash.

    metadata.json   author, description, entries of the writer, version of the layout
    main.mlirb      the program with its weights, as MLIR bytecode
    main.hash       SHA-256 of the program, 32 bytes

A compiled asset holds more files, which are specific to a system and are not read here.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.saved.untrusted import damaged, file_inside

# The metadata is short text, except for the declarations of a large network.
_MAX_METADATA_BYTES = 8 << 20
PROGRAM, METADATA, _HASH = "main.mlirb", "metadata.json", "main.hash"


@dataclass(frozen=True)
class Asset:
    """An asset whose program matches its hash.

    Attributes:
        path: of the folder.
        program: path of the bytecode.
        digest: SHA-256 of the bytecode.
        version: major version of the folder's layout.
        metadata: entries of the writer that are strings, by key.
    """

    path: Path
    program: Path
    digest: bytes
    version: int
    metadata: dict[str, str]


def open_asset(path: Path) -> Asset:
    """Open an asset and check its hash.

    Raises:
        InputError: if it is not an asset, a file is missing or outside the folder, or the program
            does not match the hash.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: name the .aimodel folder itself.")
    stated, program, hashed = (
        file_inside(path, path, name, "its file") for name in (METADATA, PROGRAM, _HASH)
    )
    metadata = _read_metadata(path, stated)
    version = str(metadata.get("assetVersion", ""))[:16].partition(".")[0]
    if not (version.isascii() and version.isdigit()):
        raise damaged(path, f"{METADATA} does not state the version of the asset")
    try:
        with program.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        with hashed.open("rb") as stream:
            wanted = stream.read(len(digest) + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): check its permissions.") from error
    if digest != wanted:
        raise damaged(path, f"{PROGRAM} does not match {_HASH}")
    entries = metadata.get("creatorDefinedMetadata", {})
    texts = entries.items() if isinstance(entries, dict) else ()
    own = {key: held for key, held in texts if isinstance(held, str)}
    return Asset(path, program, digest, int(version), own)


def _read_metadata(asset: Path, file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_METADATA_BYTES + 1)
        if len(content) > _MAX_METADATA_BYTES:
            raise damaged(asset, f"{METADATA} has more than {_MAX_METADATA_BYTES >> 20} MiB")
        held = json.loads(content)
    except OSError as error:
        raise InputError(f"{asset} cannot be read ({error}): check its permissions.") from error
    except (ValueError, RecursionError) as error:
        raise damaged(asset, f"{METADATA} is not JSON") from error
    if not isinstance(held, dict):
        raise damaged(asset, f"{METADATA} is not a JSON object")
    return held
