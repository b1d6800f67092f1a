"""SHA-256 of files, folders, texts and this project's own code."""

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path

from slide_deploy import PACKAGES


def sha256(path: Path) -> str:
    """Hash the bytes of a file, or the sorted relative names and hashes of the files in a folder.

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


@functools.cache
def code_digest() -> str:
    """Hash this project's own source files, where they are installed as files.

    The version number cannot identify the code, because it stays the same during development.
    """
    digest = hashlib.sha256()
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:  # a bundle lacks the exporters
            continue
        root = Path(spec.origin).parent
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root.parent).as_posix()
            digest.update(f"{name}\0{sha256(path)}\n".encode())
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    """Hash a text in UTF-8; lowercase hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()
