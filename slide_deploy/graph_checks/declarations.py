"""What the texts that a file says of itself have in common.

The exporters store JSON under keys that begin with ``PREFIX``: what the file must show (``census``,
``normalisations``, ``interface``) and what its readers may like to know, such as where its slide
attentions are and how each is written.
"""

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "slide_deploy."
# For whoever reads a file; no rule does. A JSON list with the name, the sizes and the form of each.
ATTENTIONS_KEY = "slide_deploy.slide_attentions"
PRECISION_KEY = "slide_deploy.precision"
# Of a quantised file: a JSON list with the names of the operators whose weights are floats.
FLOAT_OPERATORS_KEY = "slide_deploy.float_operators"
# Of a calibrated file, for whoever proves it: which examples its export was given.
CALIBRATION_KEY = "slide_deploy.calibration_sha256"

# A census of a hundred geometries has a tenth of it.
_LONGEST_TEXT = 200_000


def says_something(metadata: Mapping[str, str]) -> bool:
    """Whether slide-deploy wrote the file, or whoever did says what slide-deploy would."""
    return any(key.startswith(PREFIX) for key in metadata)


def parsed(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        ValueError: the text is none, or longer than an exporter writes; its text is a clause.
    """
    if len(text) > _LONGEST_TEXT:
        raise ValueError(f"has {len(text):,} characters")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("is not JSON") from error


def read_entries(text: str) -> list[dict[str, Any]]:
    """The objects in a JSON list; an empty one in the place of what is none.

    Raises:
        ValueError: the text is no such list; its text is a clause.
    """
    entries = parsed(text)
    if not isinstance(entries, list):
        raise ValueError("is not a list")
    return [entry if isinstance(entry, dict) else {} for entry in entries]


def read_names(text: str) -> tuple[str, ...]:
    """The texts in a JSON list.

    Raises:
        ValueError: the text is no such list; its text is a clause.
    """
    entries = parsed(text)
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError("is not a list of names")
    return tuple(entries)
