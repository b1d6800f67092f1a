"""Read small untrusted files: regular files only, with limits on size and JSON content.

Reading a pipe without a writer would block, and a device such as ``/dev/zero`` never ends. Errors
are Python's ``OSError``, with its ``strerror``, and ``ValueError``; callers turn them into
messages.

Standard library only, because bundles for other devices contain this module.
"""

import errno
import json
import stat
import tomllib
from pathlib import Path
from typing import Any

# Limit for files that are written by hand or list files, in bytes.
SMALL = 64 << 20
# Limit of lists and objects in a JSON text. Each takes about 100 bytes of memory for two of text.
_MOST_CONTAINERS = 3_000_000
# Limit of dots in a line of TOML. Python's parser takes time in the square of a key's names.
_MOST_DOTS = 64


def read_bytes(path: Path, most: int = SMALL) -> bytes:
    """Read a regular file.

    Args:
        path: path of the file; symbolic links are followed.
        most: largest allowed size in bytes.

    Raises:
        OSError: the file cannot be read, is not a regular file, or is too large.
    """
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    if status.st_size > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    with path.open("rb") as stream:
        return stream.read(most + 1)[:most]


def read_text(path: Path, encoding: str = "utf-8", most: int = SMALL) -> str:
    """Read the text of a regular file, with unchanged line breaks.

    Raises:
        OSError: see ``read_bytes``.
        ValueError: the content is not text in this encoding.
    """
    return read_bytes(path, most).decode(encoding)


def parse_json(content: bytes | str) -> Any:
    """Parse strict JSON: no NaN, no infinity, no repeated key.

    Raises:
        ValueError: the text is not JSON, is nested too deeply, or has too many lists and objects.
    """
    data = content.encode("utf-8", "replace") if isinstance(content, str) else content
    if data.count(b"[") + data.count(b"{") > _MOST_CONTAINERS:
        raise ValueError(f"it has more than {_MOST_CONTAINERS:,} lists and objects")
    try:
        return json.loads(content, parse_constant=_refuse, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json(path: Path, most: int = SMALL) -> Any:
    """Read and parse a JSON file.

    Raises:
        OSError: see ``read_bytes``.
        ValueError: see ``parse_json``.
    """
    return parse_json(read_bytes(path, most))


def parse_toml(text: str) -> dict[str, Any]:
    """Parse TOML.

    Raises:
        ValueError: the text is not TOML, is nested too deeply, or has too many dots in a line.
    """
    if any(line.count(".") > _MOST_DOTS for line in text.split("\n")):
        raise ValueError(f"a line has more than {_MOST_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number in JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found
