"""Validation of file content with pydantic; a mistake becomes one clause that names the key."""

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

T = TypeVar("T")
Place = tuple[str | int, ...]

# Requirements by pydantic's error type, in words for people who write TOML.
_REQUIRED = {
    "bool_type": "be true or false",
    "int_type": "be a whole number",
    "string_type": "be a text",
    **dict.fromkeys(("list_type", "tuple_type", "frozen_set_type"), "be a list"),
    **dict.fromkeys(("dict_type", "model_type", "dataclass_type"), "be a table"),
}
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def validated(kind: type[T], content: Any, key: str = "") -> T:
    """Convert parsed JSON or TOML to a typed value.

    Args:
        kind: a pydantic model, or a dataclass of plain values.
        content: the result of ``json.loads`` or ``tomllib.loads``.
        key: key of the content in its file; empty for a whole file.

    Raises:
        ValueError: see ``validated_json``.
    """
    # Via text, because JSON has lists where a model has tuples and sets.
    try:
        text = json.dumps(content, default=_refuse, allow_nan=False)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return validated_json(kind, text, key)


def validated_json(kind: type[T], text: str | bytes, key: str = "") -> T:
    """Convert a JSON text to a typed value, without parsing a large text twice.

    Args:
        kind: a pydantic model, or a dataclass of plain values.
        text: the JSON text.
        key: key of the content in its file; empty for a whole file.

    Raises:
        ValueError: a key is missing or unknown, or a value has the wrong type. The message is one
            clause with the key, what is allowed there, and what was found.
    """
    # Imported here, because most commands do not need pydantic.
    from pydantic import TypeAdapter, ValidationError

    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        found = _clause(adapter.json_schema(), json.loads(text), mistakes, key)
        raise ValueError(found) from error


def _refuse(value: Any) -> Any:
    raise ValueError(f"{value} has no equivalent in JSON: write it as text in quotes")


def _clause(
    schema: Mapping[str, Any], content: Any, mistakes: Sequence["ErrorDetails"], key: str
) -> str:
    """Describe the first mistake; an unknown key, often a typo, comes before a missing one."""
    first = min(mistakes, key=lambda each: each["type"] not in _UNKNOWN)
    place, message = _place(content, first["loc"]), first["msg"].removeprefix("Value error, ")
    where = _shown((key, *place))
    if first["type"] == "missing":
        return f"{where} is missing; add it"
    if first["type"] in _UNKNOWN:
        known = _keys(schema, place[:-1])
        near = difflib.get_close_matches(str(place[-1]), known, 1, 0.7)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
        return f"{where} is not a key here; {hint}"
    if not message.startswith("Input should "):
        return f"{where}: {message}" if where else message
    # Each member of a union reports its own requirement.
    alike = (each for each in mistakes if _place(content, each["loc"]) == place)
    required = " or ".join(dict.fromkeys(map(_requirement, alike))).replace(" or be ", " or ")
    return f"{where or 'the file'} should {required}, and is {_short(str(first['input']), 60)}"


def _requirement(mistake: "ErrorDetails") -> str:
    return _REQUIRED.get(mistake["type"], mistake["msg"].removeprefix("Input should "))


def _place(content: Any, location: Place) -> Place:
    """Return a location in the content, without pydantic's names for members of unions."""
    place: list[str | int] = []
    for index, part in enumerate(location):
        is_inside = isinstance(content, list if isinstance(part, int) else dict)
        if is_inside and part in (range(len(content)) if isinstance(part, int) else content):
            content = content[part]
        elif not is_inside or index < len(location) - 1:
            continue
        place.append(part)
    return tuple(place)


def _keys(schema: Mapping[str, Any], place: Place) -> list[str]:
    """Return the keys that a model has at a place, from its JSON schema."""
    inside: Any = schema
    for part in (*place, None):
        for each in (inside, *inside.get("anyOf", ())):
            if "$ref" in each:
                inside = schema["$defs"][each["$ref"].rpartition("/")[2]]
        if isinstance(part, int):
            inside = inside.get("items", {})
        elif part is not None:
            inside = inside.get("properties", {}).get(part, inside.get("additionalProperties", {}))
    return list(inside.get("properties", ()))


def _shown(place: Place) -> str:
    """Format a place as ``candidate[0].name``."""
    shown = "".join(f"[{each}]" if isinstance(each, int) else f".{each[:40]}" for each in place)
    return _short(shown.lstrip("."), 80)


def _short(text: str, limit: int) -> str:
    """Shorten a text from a file and make it printable, for a message of one line."""
    printable = "".join(each if each.isprintable() else "?" for each in text)
    return printable if len(printable) <= limit else f"{printable[: limit - 1]}…"
