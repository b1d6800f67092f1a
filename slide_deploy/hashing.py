"""SHA-256 of what is on disk."""

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """Hash of a file's bytes, or of a folder's relative file names and hashes in sorted order.

    Returns:
        Lowercase hexadecimal.
    """
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(item for item in path.rglob("*") if item.is_file()):
        name = file_path.relative_to(path).as_posix()
        digest.update(f"{name}\0{sha256(file_path)}\n".encode())
    return digest.hexdigest()
