"""Read the settings that a file states beside its tensors: the configuration of its training.

Shapes do not show every setting. The authors' training stores its configuration with the weights,
other frameworks store their arguments, and a hub has a ``config.json``. Every setting of the
authors that changes the network's outputs is read, or refused by name if this project does not
support it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from slide_deploy.checkpoint.entries import key_text
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.unpickle import Placeholder, mapping_of
from slide_deploy.errors import InputError

# Types of settings that are not integers; a file can hold anything under these names.
_SHAPES: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("qkv_bias", "ape", "patch_norm"), bool),
    **dict.fromkeys(("depths", "num_heads"), (list, tuple)),
    "image_size": (int, list, tuple),
    "mlp_ratio": (int, float),
}
_MAX_NUMBER = 2**31
# Far beyond any scale used in training; a larger one overflows float32.
_MAX_SCALE = 1e6
_MAX_DEPTH = 32
_MAX_SECTIONS = 6
# A mapping with one of these settings describes a network of this kind.
_OF_A_NETWORK = frozenset(
    {"embed_dim", "depths", "num_heads", "window_size", "qkv_bias", "qk_scale", "mlp_ratio", "ka"}
)
# The scale in a configuration that is stored as the text of a Python or YAML file.
_IN_TEXT = re.compile(r"""qk_scale["']?\s*[=:]\s*["']?([^\s,;)\]}#"']+)""", re.IGNORECASE)
_MAX_TEXT = 2**22


@dataclass(frozen=True)
class Vocabulary:
    """The names of a family's settings in the configuration of its authors' training.

    Attributes:
        config: name of the Python class of its settings.
        kinds: values of MODEL.TYPE for its networks.
        shown: settings that tensor shapes show as well: names in the configuration to names here.
        without_effect: settings that do not change the outputs of the trained network.
        others: beginnings of the names of settings that belong to other networks.
        unlike: words that mark networks with the same tensor names and other outputs, each with the
            difference, such as "dilated neighbourhoods".
    """

    config: str = ""
    kinds: tuple[str, ...] = ()
    shown: Mapping[str, str] = field(default_factory=dict)
    without_effect: frozenset[str] = frozenset()
    others: tuple[str, ...] = ()
    unlike: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stated:
    """The settings that a file states.

    Attributes:
        settings: by the family's names: plain numbers and lists of them.
        remarks: unknown settings, in words.
        normalisation: mean and standard deviation of each channel in training, of pixels divided by
            255; None if they are not stated.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None


def stated_in(
    path: Path,
    content: Any,
    family: str,
    known: Vocabulary,
    hub: Mapping[str, Any] | None = None,
) -> Stated:
    """Read the settings that a file states beside its tensors.

    Args:
        path: the file, for messages.
        content: the whole file.
        family: name of the network family, for messages.
        known: the names of the family's settings.
        hub: the ``config.json`` beside the file, if there is one.

    Raises:
        InputError: a setting that changes the outputs is not supported, or has two different
            values.
    """
    hub = hub or {}
    found = [*_inside(content), *_inside(hub)]
    mappings = [each for each in found if isinstance(each, dict)]
    authors = next((each for each in mappings if _is_authors(each)), None)
    settings: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if authors is not None:
        flat = {name: _plain(value) for name, value in _flat(authors)}
        settings = {ours: flat[theirs] for theirs, ours in known.shown.items() if theirs in flat}
        remarks = tuple(_unknown(flat, family, known))
        for name in ("MODEL.SWIN.PADDING_MODE", "MODEL.SLIDE.PADDING_MODE"):
            _refuse_padding(path, flat.get(name), name, family, known)
    for mapping in mappings:
        if _OF_A_NETWORK & set(map(key_text, mapping)):
            _refuse_padding(
                path, _plain(mapping.get("padding_mode")), "padding_mode", family, known
            )
    _refuse_unlike(path, found, family, known)
    size = hub.get("image_size", hub.get("img_size", _size_of_training(mappings)))
    pretrained = hub.get("pretrained_cfg")
    if size is None and isinstance(pretrained, dict):
        shape = pretrained.get("input_size")
        size = shape[-2:] if isinstance(shape, list) else None
    sizes = {"image_size": size, "window_size": hub.get("window_size")}
    settings |= {name: value for name, value in sizes.items() if value is not None}
    settings = {name: value for name, value in settings.items() if _is_plain(name, value)}
    scale = _scale(path, found)
    settings = settings if scale is None else settings | {"qk_scale": scale}
    return Stated(settings, remarks, _normalisation(hub))


def _normalisation(
    hub: Mapping[str, Any],
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation from timm's ``config.json``; None if it states none that can be used."""
    pretrained = hub.get("pretrained_cfg")
    for section in (pretrained, hub):
        if not isinstance(section, dict):
            continue
        mean, deviation = _fractions(section.get("mean")), _fractions(section.get("std"))
        if mean and len(mean) == len(deviation) and min(deviation) > 0:
            return mean, deviation
    return None


def _fractions(values: Any) -> tuple[float, ...]:
    """Numbers from 0 to 1, one for each channel; () for anything else."""
    are_fractions = isinstance(values, list | tuple) and all(
        type(each) in (int, float) and 0 <= each <= 1 for each in values
    )
    return tuple(map(float, values)) if are_fractions else ()


def _inside(content: Any) -> Iterator[Any]:
    """Yield the mappings, lists and strings of a file, including attributes of objects.

    Each object is entered once.
    """
    entered: dict[int, Any] = {}  # keeps the objects alive, so that no identity is reused
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, str) and len(value) <= _MAX_TEXT:
            yield value
        if not isinstance(value, dict | list | tuple | Placeholder):
            continue
        if id(value) in entered or depth > _MAX_DEPTH:
            continue
        entered[id(value)] = value
        inside: list[Any]
        if isinstance(value, Placeholder):
            inside = [value.items, value.attributes, *value.elements, *value.arguments]
        else:
            yield value
            inside = list(value.values() if isinstance(value, dict) else value)
        waiting += [(each, depth + 1) for each in reversed(inside)]


def _plain(value: Any) -> Any:
    """A value without the wrappers of omegaconf, numpy or torch."""
    if isinstance(value, Placeholder) and "_val" in value.attributes:
        value = value.attributes["_val"]
    if isinstance(value, StoredTensor) and value.count == 1 and value.load is not None:
        value = value.read("a setting").item()
    return value


def _is_authors(mapping: Mapping[Any, Any]) -> bool:
    model, data = _section(mapping.get("MODEL")), _section(mapping.get("DATA"))
    return bool({"SWIN", "SLIDE"} & set(model or ()) or "IMG_SIZE" in (data or ()))


def _section(value: Any) -> Mapping[Any, Any] | None:
    """The entries of a section: of a dict, or of an object of yacs or omegaconf; else None."""
    if isinstance(value, Placeholder) and isinstance(value.attributes.get("_content"), dict):
        return value.attributes["_content"]
    return mapping_of(value)


def _flat(
    section: Mapping[Any, Any], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Yield the settings of the sections MODEL and DATA, by their dotted names."""
    for key, value in section.items():
        inner = _section(value)
        name = f"{prefix}{key_text(key)}"
        if inner is None:
            yield name, value
        elif depth < _MAX_SECTIONS and (depth or name in ("MODEL", "DATA")):
            yield from _flat(inner, f"{name}.", depth + 1)


def _unknown(flat: Mapping[str, Any], family: str, known: Vocabulary) -> Iterator[str]:
    """Yield a remark on each setting of the network that this project does not know."""
    for name, value in flat.items():
        ours = name in known.shown or name in known.without_effect
        if name.startswith("MODEL.") and not ours and not name.startswith(known.others):
            yield (
                f"the stored configuration has {name} = {_shown(value)}, an unknown setting: if it "
                f"changes the outputs of the network, the exported files are wrong"
            )
    kind = flat.get("MODEL.TYPE")
    if isinstance(kind, str) and kind not in known.kinds:
        yield f"the stored configuration is of a network called {_shown(kind)}, read as {family}"


def _refuse_padding(path: Path, mode: Any, name: str, family: str, known: Vocabulary) -> None:
    if mode not in (None, "zeros"):
        raise InputError(
            f"{path} was trained with {name} {_shown(mode)}, which the released {family} ignores "
            f"and other code does not: build the model in Python, with "
            f"{known.config}(padding_mode=...)."
        )


def _refuse_unlike(path: Path, found: Iterable[Any], family: str, known: Vocabulary) -> None:
    """Refuse a file whose name or text marks it as another network with the same tensors."""
    texts = [path.name, *(each for each in found if isinstance(each, str))]
    for word, difference in known.unlike.items():
        if any(word in text.lower() for text in texts):
            raise InputError(
                f"{path} is marked as {word}, a network with the tensors of a {family} and "
                f"{difference}, which no tensor shows: give the code that builds it with --model."
            )


def _size_of_training(mappings: Iterable[Mapping[Any, Any]]) -> Any:
    """The image size among the arguments of training; None if there is none, or if they differ."""
    stated = [
        _plain(mapping[name])
        for mapping in mappings
        for name in ("img_size", "input_size")
        if name in mapping
    ]
    sizes = [each[-2:] if isinstance(each, list | tuple) else each for each in stated if each]
    return sizes[0] if sizes and all(each == sizes[0] for each in sizes) else None


def _scale(path: Path, found: Iterable[Any]) -> float | None:
    """The factor on the queries if a configuration sets one; None for the usual factor.

    Raises:
        InputError: it is not a number, or the file states two different values.
    """
    scales: dict[float | None, None] = {}
    for each in found:
        for value in _stated_scales(each):
            scales[_as_scale(path, _plain(value))] = None
    if len(scales) > 1:
        values = " and ".join("none" if each is None else str(each) for each in scales)
        raise InputError(
            f"{path} states qk_scale {values}: save it with only the configuration of the trained "
            f"network."
        )
    return next(iter(scales), None)


def _stated_scales(found: Any) -> Iterator[Any]:
    """Yield the values of the scale in a mapping, a list of options or a string."""
    if isinstance(found, dict):
        for key, value in found.items():
            if isinstance(key, str) and _names_scale(key):
                yield value
    elif isinstance(found, str):
        yield from _IN_TEXT.findall(found)
    else:  # options of a command line: a name, then its value
        for name, value in pairwise(found):
            if isinstance(name, str) and _names_scale(name.lstrip("-")):
                yield value


def _names_scale(name: str) -> bool:
    return len(name) < 256 and re.split(r"[./]", name.lower())[-1] in ("qk_scale", "qk-scale")


def _as_scale(path: Path, value: Any) -> float | None:
    if isinstance(value, str):
        if value.lower() in ("", "none", "null", "~"):
            return None
        with suppress(ValueError):
            value = float(value)
    number = isinstance(value, int | float) and not (value is True or value is False)
    if value is None or (number and value == 0):
        return None  # in the authors' code 0 means the usual scale, like None
    if not number or not abs(value) <= _MAX_SCALE:  # so that NaN fails
        raise InputError(
            f"{path} states qk_scale {_shown(value)}, which is not a finite number below "
            f"{_MAX_SCALE:g}: correct its configuration."
        )
    return float(value)


def _is_plain(name: str, value: Any) -> bool:
    """Whether a value has the type of the setting of this name."""
    if not isinstance(value, _SHAPES.get(name, int)):
        return False
    if isinstance(value, bool):
        return _SHAPES.get(name) is bool
    parts = value if isinstance(value, list | tuple) else (value,)
    return all(
        isinstance(part, int | float)
        and not isinstance(part, bool)
        and abs(part) < _MAX_NUMBER
        and (isinstance(part, int) or name == "mlp_ratio")
        for part in parts
    )


def _shown(value: Any) -> str:
    """A value for a message: a plain value as it is, another by its type."""
    if isinstance(value, Placeholder):
        return f"({value.name})"
    plain = isinstance(value, str | int | float | bool | type(None))
    return key_text(value)[:40] if plain else f"({type(value).__name__})"
