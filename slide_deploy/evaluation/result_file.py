"""The result file of an evaluation: its record as strict JSON, and its figures for other readers.

    {"version": 1, "summary": [...], "record": {...}}

``summary`` follows from ``record``: whoever reads the file back computes it again and refuses a
file in which the two disagree.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from slide_deploy.errors import InputError
from slide_deploy.evaluation.figures import summary_of
from slide_deploy.evaluation.record import RECORD_VERSION, Record
from slide_deploy.printable import as_text
from slide_deploy.reading import read_json
from slide_deploy.tuning.strict import decode

# A million pictures by twenty files need some 80 MB.
_MAX_BYTES = 128 << 20


def as_dict(record: Record) -> dict[str, Any]:
    """What a result file holds, as plain data."""
    return {"version": RECORD_VERSION, "summary": summary_of(record), "record": asdict(record)}


def encode(record: Record) -> str:
    """The text of a result file: figures that people can read, outcomes in one line a field."""
    document = as_dict(record)
    inside = document.pop("record")
    head = json.dumps(document, indent=2, allow_nan=False)
    lines = ",\n".join(
        f"    {json.dumps(key)}: {json.dumps(value, allow_nan=False)}"
        for key, value in inside.items()
    )
    return f'{head[:-2]},\n  "record": {{\n{lines}\n  }}\n}}\n'


def read(path: Path) -> Record:
    """The record that a result file holds.

    Raises:
        InputError: the file is missing, damaged, of another version, or contradicts itself.
    """
    try:
        document = _printable(read_json(path, _MAX_BYTES))
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): give a file that slide-deploy evaluate has "
            f"written with --json."
        ) from error
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "it is not valid JSON") from error
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or set(document) != {"version", "summary", "record"}:
        raise _unusable(path, "it is of another kind")
    if version != RECORD_VERSION:
        raise InputError(
            f"{path} is version {version} of the form and this slide-deploy knows {RECORD_VERSION}:"
            f" use the version of slide-deploy that has written it."
        )
    try:
        record = decode(Record, document["record"])
    except ValueError as error:
        raise _unusable(path, str(error)) from error
    if not _follows(document["summary"], summary_of(record)):
        raise _unusable(path, "its figures do not follow from its pictures")
    return record


def _printable(value: Any) -> Any:
    """Plain data whose texts can be printed, as half a character of JSON's cannot."""
    if isinstance(value, dict):
        return {as_text(key): _printable(each) for key, each in value.items()}
    if isinstance(value, list):
        return [each if type(each) is int else _printable(each) for each in value]
    return as_text(value) if isinstance(value, str) else value


def _follows(stated: Any, found: Any) -> bool:
    """Whether figures are those that follow: counts exactly, others as any machine rounds them."""
    if isinstance(found, dict):
        alike = isinstance(stated, dict) and stated.keys() == found.keys()
        return alike and all(_follows(stated[key], each) for key, each in found.items())
    if isinstance(found, list):
        alike = isinstance(stated, list) and len(stated) == len(found)
        return alike and all(map(_follows, stated, found))
    if isinstance(found, float):
        # Other programs write 1.0 as 1.
        is_number = type(stated) is float or (type(stated) is int and abs(stated) <= 1)
        return is_number and math.isclose(stated, found, rel_tol=1e-9, abs_tol=1e-12)
    return type(stated) is type(found) and bool(stated == found)


def _unusable(path: Path, what: str) -> InputError:
    return InputError(
        f"{path} is no result of an evaluation that can be used: {what}; run slide-deploy evaluate "
        f"again."
    )
