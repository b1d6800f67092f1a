"""The result file of an evaluation: the record as strict JSON, and its figures.

    {"version": 1, "summary": [...], "record": {...}}

``summary`` is for other readers. ``read`` computes it again from ``record`` and rejects a file in
which the two disagree.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import summary_of
from slide_deploy.evaluation.record import RECORD_VERSION, Record
from slide_deploy.files.reading import read_json
from slide_deploy.files.validation import validated
from slide_deploy.terminal.printable import as_text

# One million images and twenty files take about 80 MB.
_MAX_BYTES = 128 << 20


def as_dict(record: Record) -> dict[str, Any]:
    """The content of a result file as plain data."""
    return {"version": RECORD_VERSION, "summary": summary_of(record), "record": asdict(record)}


def encode(record: Record) -> str:
    """The text of a result file: readable figures, then one line for each field of outcomes."""
    document = as_dict(record)
    inside = document.pop("record")
    head = json.dumps(document, indent=2, allow_nan=False)
    lines = ",\n".join(
        f"    {json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
        for key, value in inside.items()
    )
    return f'{head[:-2]},\n  "record": {{\n{lines}\n  }}\n}}\n'


def read(path: Path) -> Record:
    """Read the record of a result file.

    Raises:
        InputError: if the file is missing, damaged, of another version, or inconsistent.
    """
    try:
        document = _printable(read_json(path, _MAX_BYTES))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a file that slide-deploy evaluate "
            f"wrote with --json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "it is not valid JSON") from error
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or set(document) != {"version", "summary", "record"}:
        raise _unusable(path, "it has other fields")
    if version != RECORD_VERSION:
        raise InputError(
            f"{path} has format version {version} and this slide-deploy reads {RECORD_VERSION}: "
            f"use the version of slide-deploy that wrote it."
        )
    try:
        record = validated(Record, document["record"])
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    if not _follows(document["summary"], summary_of(record)):
        raise _unusable(path, "its figures do not match its images")
    return record


def _printable(value: Any) -> Any:
    """Plain data with printable texts. JSON can hold lone surrogates, which cannot be printed."""
    if isinstance(value, dict):
        return {as_text(key): _printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [each if type(each) is int else _printable(each) for each in value]
    return as_text(value) if isinstance(value, str) else value


def _follows(stated: Any, found: Any) -> bool:
    """Whether stated figures equal computed ones: counts exactly, others up to rounding."""
    if isinstance(found, dict):
        alike = isinstance(stated, dict) and stated.keys() == found.keys()
        return alike and all(_follows(stated[key], each) for key, each in found.items())
    if isinstance(found, list):
        alike = isinstance(stated, list) and len(stated) == len(found)
        return alike and all(map(_follows, stated, found))
    if isinstance(found, float):
        # Other programs may write 1.0 as 1.
        is_number = type(stated) is float or (type(stated) is int and abs(stated) <= 1)
        return is_number and math.isclose(stated, found, rel_tol=1e-9, abs_tol=1e-12)
    return type(stated) is type(found) and bool(stated == found)


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is not a usable evaluation result ({what}): run slide-deploy evaluate again."
    )
