"""Parsed JSON to dataclasses, strictly: no field missing, none unknown, no type bent to another.

The table is read where there is no pydantic: exporting does not need it.
"""

from dataclasses import fields
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def decode(kind: type[T], value: Any, place: str = "") -> T:
    """A value of this type: a dataclass, a tuple or a dict of such, or plain.

    Args:
        kind: what is expected.
        value: as ``json.loads`` gives it.
        place: where it stands, for the message.

    Raises:
        ValueError: if it is anything else; the text says where.
    """
    origin = get_origin(kind) or kind
    if origin is tuple:
        item = get_args(kind)[0]
        _expect(isinstance(value, list), place, "expected a list")
        decoded: Any = tuple(
            decode(item, each, f"{place}[{index}]") for index, each in enumerate(value)
        )
    elif origin is dict:
        _, item = get_args(kind)
        _expect(isinstance(value, dict), place, "expected an object")
        decoded = {key: decode(item, each, f"{place}.{key}") for key, each in value.items()}
    elif hasattr(kind, "__dataclass_fields__"):
        decoded = _dataclass(kind, value, place)
    elif kind is float:  # JSON writes 1.0 as 1 at will
        _expect(type(value) in (int, float), place, "expected a number")
        decoded = float(value)
    else:
        _expect(type(value) is kind, place, f"expected {getattr(kind, '__name__', kind)}")
        decoded = value
    return decoded


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    _expect(isinstance(value, dict), place, "expected an object")
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    for name in names:
        _expect(name in value, place, f"{name} is missing")
    for name in value:
        _expect(name in names, place, f"{name[:40]} is unknown")
    parts = {name: decode(hints[name], value[name], f"{place}.{name}") for name in names}
    try:
        return kind(**parts)
    except ValueError as error:  # what its own checks refuse
        raise ValueError(_at(place, str(error))) from error


def _expect(holds: bool, place: str, sentence: str) -> None:
    if not holds:
        raise ValueError(_at(place, sentence))


def _at(place: str, sentence: str) -> str:
    place = place.removeprefix(".")[:80]
    return f"{place}: {sentence}" if place else sentence
