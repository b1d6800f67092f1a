"""Read and write result files: a `Run` as strict JSON.

A file of an older version is upgraded step by step, so that other code handles only the present
version. Unknown fields are errors: a misspelt field must not pass as "not measured".
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.plausible import implausible
from benchmarks.record import RECORD_VERSION, Run
from slide_deploy.errors import InputError
from slide_deploy.files.reading import parse_json, read_bytes
from slide_deploy.files.validation import validated_json
from slide_deploy.files.writing import write_bytes
from slide_deploy.graph_checks.readers.limits import short

# Twenty candidates with 100,000 samples each need about 20 MB.
MAX_BYTES = 128 << 20

# From a version to the step that upgrades it by one. A step takes the parsed JSON and returns the
# changed JSON.
UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def read(path: Path) -> Run:
    """Read a run from a file.

    Raises:
        InputError: The file is missing, damaged, too new or holds impossible figures.
    """
    try:
        content = read_bytes(path, MAX_BYTES)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a file that slide-deploy bench --json "
            f"has written."
        ) from error
    return decode(content, path)


def read_suites(folder: Path, suites: Iterable[str], command: str) -> dict[str, Run]:
    """The results of suites in a folder, by suite; ``command`` is what writes them.

    Raises:
        InputError: the folder holds none, or one that cannot be used.
    """
    paths = {suite: folder / f"{suite}.json" for suite in suites}
    runs = {suite: read(path) for suite, path in paths.items() if path.exists()}
    if not runs:
        raise InputError(f"{folder} holds no result of a suite: run {command}.")
    return runs


def decode(content: bytes, path: Path) -> Run:
    """Decode a run from the bytes of a file.

    Args:
        content: Bytes of the file.
        path: Path of the file, for error messages.

    Raises:
        InputError: The content is damaged, too new or holds impossible figures.
    """
    document = _upgraded(path, _parsed(content, path))
    return _validated(path, json.dumps(document))


def write(run: Run, path: Path) -> None:
    """Write a run so that ``read`` returns it. An existing file is replaced atomically.

    Raises:
        InputError: ``read`` would refuse the run, or the file cannot be written.
    """
    write_bytes(path, encode(run, path))


def encode(run: Run, path: Path) -> bytes:
    """Encode a run as bytes that ``decode`` returns unchanged.

    Args:
        run: The run.
        path: Path of the file, for error messages.

    Raises:
        InputError: ``decode`` would refuse the run.
    """
    try:
        text = json.dumps(asdict(run), ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise InputError(
            f"{path} was not written because a figure of the run is not finite: measure again."
        ) from error
    # A path with bytes that are not valid text must not make the file unreadable.
    content = text.encode("utf-8", "replace")
    _validated(path, content)
    return content + b"\n"


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        document = parse_json(content)
    except ValueError as error:
        raise _unusable(path, f"it is not valid JSON ({short(str(error))})") from error
    if not isinstance(document, dict) or type(document.get("version")) is not int:
        raise _unusable(path, "it has no version")
    return document


def _upgraded(path: Path, document: dict[str, Any]) -> dict[str, Any]:
    version = document["version"]
    if version > RECORD_VERSION:
        raise InputError(
            f"{path} was written by a newer slide-deploy (format version {version}, but this one "
            f"reads up to {RECORD_VERSION}): upgrade with pip install --upgrade slide-deploy."
        )
    if version < 1:
        raise _unusable(path, f"there is no format version {version}")
    try:
        for step in range(version, RECORD_VERSION):
            document = UPGRADES[step](document) | {"version": step + 1}
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _unusable(path, f"its fields are not those of format version {version}") from error
    return document


def _validated(path: Path, text: str | bytes) -> Run:
    try:
        run = validated_json(Run, text)
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    warning = implausible(run)
    if warning:
        raise _unusable(path, warning)
    return run


def _unusable(path: Path, what: str) -> InputError:
    return InputError(f"{path} is not a usable result file: {what}; measure again.")
