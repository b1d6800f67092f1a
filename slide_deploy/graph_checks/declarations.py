"""Common parts of the declarations that exporters store in a file's metadata.

The exporters store JSON under keys that begin with ``PREFIX``. Rules check some entries against the
graph (``census``, ``normalisations``, ``interface``). Others are information, such as where the
slide attentions are and how each is written.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

PREFIX = "slide_deploy."
# Information that no rule reads: a JSON list with the name, the sizes and the form of each.
ATTENTIONS_KEY = "slide_deploy.slide_attentions"
PRECISION_KEY = "slide_deploy.precision"
# In a quantised file: a JSON list with the names of the operators whose weights are floats.
FLOAT_OPERATORS_KEY = "slide_deploy.float_operators"
# In a calibrated file: the digest of the examples of its export, which `verify` compares.
CALIBRATION_KEY = "slide_deploy.calibration_sha256"

# Characters. A census of a hundred geometries needs a tenth of this.
_LONGEST_TEXT = 200_000


def has_declarations(metadata: Mapping[str, str]) -> bool:
    """Whether a file has metadata entries of slide-deploy."""
    return any(key.startswith(PREFIX) for key in metadata)


def is_count(held: Any, highest: int, lowest: int = 0) -> TypeGuard[int]:
    """Whether a parsed value is an integer from ``lowest`` to ``highest``."""
    return type(held) is int and lowest <= held <= highest


def parsed(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        ValueError: the text is not JSON, or longer than an exporter writes. The message is a
            clause.
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"has {len(text):,} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error


def read_entries(text: str) -> list[dict[str, Any]]:
    """The objects in a JSON list; any other entry becomes an empty object.

    Raises:
        ValueError: the text is not such a list. The message is a clause.
    """
    entries = parsed(text)
    if not isinstance(entries, list):
        raise ValueError("is not a list")
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def read_names(text: str) -> tuple[str, ...]:
    """The strings in a JSON list.

    Raises:
        ValueError: the text is not such a list. The message is a clause.
    """
    entries = parsed(text)
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("is not a list of names")
    return tuple(entries)
