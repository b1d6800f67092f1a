"""Small files from strangers, read whole: regular files only, up to a size, JSON up to a depth.

A pipe without a writer would be waited for, and a device such as ``/dev/zero`` has no end. Errors
are Python's own, ``OSError`` with its ``strerror`` and ``ValueError``: who asks knows the sentence.

Standard library only: bundles for other devices carry this module.
"""

import errno
import json
import stat
from pathlib import Path
from typing import Any

# What is written by hand, or lists some files.
SMALL = 64 << 20
# Lists and objects of a JSON text: each takes some 100 bytes of memory, and two of the text.
_MOST_CONTAINERS = 3_000_000


def read_bytes(path: Path, most: int = SMALL) -> bytes:
    """The content of a regular file.

    Args:
        path: of the file; symbolic links are followed.
        most: bytes that it may have.

    Raises:
        OSError: if it cannot be read, is no regular file, or is larger.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    with path.open("rb") as stream:
        return stream.read(most + 1)[:most]


def read_text(path: Path, encoding: str = "utf-8", most: int = SMALL) -> str:
    """The text of a regular file, with line breaks as they are.

    Raises:
        OSError: as ``read_bytes``.
        ValueError: if it is no text in that encoding.
    """
    return read_bytes(path, most).decode(encoding)


def parse_json(content: bytes | str) -> Any:
    """Plain data of a JSON text as the standard has it: no NaN, no infinity, no key twice.

    Raises:
        ValueError: if it is none, is nested too deep, or unfolds to more than any file needs.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if data.count(b"[") + data.count(b"{") > _MOST_CONTAINERS:
        raise ValueError("it holds more lists and objects than any file needs")
    try:
        return json.loads(content, parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def read_json(path: Path, most: int = SMALL) -> Any:
    """Plain data of a JSON file.

    Raises:
        OSError: as ``read_bytes``.
        ValueError: as ``parse_json``.
    """
    return parse_json(read_bytes(path, most))


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found
