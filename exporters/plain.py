"""Conversion of results to JSON-compatible data. Does not import torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any


def to_json(content: Any) -> str:
    """Return dataclasses, tuples and paths as strict JSON; NaN and infinity become text."""
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"


def plain_dict(record: Any) -> dict[str, Any]:
    """Return a dataclass as a dict of JSON-compatible data, with a key for each field."""
    found: dict[str, Any] = plain(record)
    return found


def plain(value: Any) -> Any:
    """Return a value, and everything that it contains, as JSON-compatible data."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
