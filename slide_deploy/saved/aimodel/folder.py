"""The files of an asset: a folder from a stranger, held against its own hash.

    metadata.json   author, description, entries of whoever wrote it, version of the layout
    main.mlirb      the program with its weights, as bytecode of MLIR
    main.hash       SHA-256 of the program, 32 bytes

A compiled asset holds other files as well, which belong to one system and are not read here.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError

# Text, but for the declarations of a large network.
_MAX_METADATA_BYTES = 8 << 20
PROGRAM, METADATA, _HASH = "main.mlirb", "metadata.json", "main.hash"


@dataclass(frozen=True)
class Asset:
    """An asset whose program is the one that was written.

    Attributes:
        path: the folder.
        program: the bytecode.
        digest: of the bytecode, SHA-256.
        version: of the layout of the folder, its first number.
        metadata: entries of whoever wrote it that are texts, by key.
    """

    path: Path
    program: Path
    digest: bytes
    version: int
    metadata: dict[str, str]


def damaged(path: Path, what: str) -> InputError:
    """The error for an asset whose bytes contradict each other; ``what`` is a clause."""
    return InputError(f"{path} is damaged: {what}; copy or export the asset again.")


def open_asset(path: Path) -> Asset:
    """Look into an asset.

    Raises:
        InputError: it is no asset, a file is missing or leads out of the folder, or the program
            is not the one that the hash was made of.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check its name.")
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: name the .aimodel folder itself.")
    stated = _inside(path, METADATA)
    program, hashed = _inside(path, PROGRAM), _inside(path, _HASH)
    metadata = _read_metadata(path, stated)
    version = str(metadata.get("assetVersion", ""))[:16].partition(".")[0]
    if not (version.isascii() and version.isdigit()):
        raise damaged(path, f"{METADATA} does not say the version of the asset")
    try:
        with program.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").digest()
        with hashed.open("rb") as stream:
            wanted = stream.read(len(digest) + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): check its permissions.") from error
    if digest != wanted:
        raise damaged(path, f"{PROGRAM} is not the program that {_HASH} was made of")
    entries = metadata.get("creatorDefinedMetadata", {})
    texts = entries.items() if isinstance(entries, dict) else ()
    own = {key: held for key, held in texts if isinstance(held, str)}
    return Asset(path, program, digest, int(version), own)


def _inside(asset: Path, name: str) -> Path:
    """A regular file of the asset, symbolic links resolved.

    Raises:
        InputError: it is missing, no file, or outside.
    """
    try:
        found = (asset / name).resolve(strict=True)
        root = asset.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise damaged(asset, f"it has no {name}") from error
    if not found.is_relative_to(root):
        raise InputError(
            f"{asset} has a {name} that leads out of the folder: do not use it, and get the asset "
            f"from a source that you trust."
        )
    if not found.is_file():
        raise damaged(asset, f"its {name} is not a file")
    return found


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
