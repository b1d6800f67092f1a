"""What a file says of the network beside its tensors: the configuration of its training.

Shapes do not show everything. The authors' training stores its configuration with the weights;
other frameworks store their arguments, and a hub has a ``config.json``. Of the authors' settings
each one that changes what the network computes is read, or refused by name where this project
cannot honour it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slide_deploy.checkpoint.unpickle import Placeholder, mapping_of
from slide_deploy.errors import InputError

# Settings of the authors' configuration that shapes show too, and what they are called here.
_SHOWN = {
    "MODEL.NUM_CLASSES": "num_classes",
    "MODEL.SWIN.PATCH_SIZE": "patch_size",
    "MODEL.SWIN.IN_CHANS": "in_channels",
    "MODEL.SWIN.EMBED_DIM": "embed_dim",
    "MODEL.SWIN.DEPTHS": "depths",
    "MODEL.SWIN.NUM_HEADS": "num_heads",
    "MODEL.SWIN.MLP_RATIO": "mlp_ratio",
    "MODEL.SWIN.QKV_BIAS": "qkv_bias",
    "MODEL.SWIN.APE": "ape",
    "MODEL.SWIN.PATCH_NORM": "patch_norm",
    "MODEL.SLIDE.KA": "kernel_size",
    "MODEL.SLIDE.NUM_SLIDE_STAGES": "num_slide_stages",
    "MODEL.SWIN.WINDOW_SIZE": "window_size",
    "DATA.IMG_SIZE": "image_size",
}
# Settings without a say in what the trained network computes. Those in the second line belong to
# other networks of the authors: the training of Slide-Swin does not read them.
_WITHOUT_EFFECT = frozenset(
    f"MODEL.{name}"
    for name in (
        *("TYPE", "NAME", "RESUME", "DROP_RATE", "DROP_PATH_RATE", "LABEL_SMOOTHING"),
        *("PRETRAINED", "SWIN.QK_SCALE", "SWIN.PADDING_MODE"),
        *("SWIN.KA", "SWIN.DIM_REDUCTION", "SWIN.STAGES", "SWIN.STAGES_NUM", "SWIN.RPB"),
        *("SWIN.SHARE_DWC_KERNEL", "SWIN.SHARE_QKV", "SWIN.LR_FACTOR", "SWIN.DEPTHS_LR"),
        *("SWIN.FUSION_TYPE", "SWIN.STAGE_CFG", "SWIN.ATTN_DROP_RATE"),
    )
)
_OTHER_NETWORKS = ("MODEL.SWIN_HR", "MODEL.SWIN_LRVIT", "MODEL.PVD")
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Stated:
    """What is said of a network.

    Args:
        settings: by the names of ``SlideSwinConfig``, plain numbers and lists of them.
        remarks: what is said and not known.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def stated_in(path: Path, content: Any, hub: Mapping[str, Any] | None = None) -> Stated:
    """Read what a file says of its network beside the tensors.

    Args:
        path: the file, for messages.
        content: the whole file.
        hub: the ``config.json`` beside it, where there is one.

    Raises:
        InputError: if a setting that changes the answers cannot be honoured, or is given twice and
            differently.
    """
    mappings = list(_mappings(content))
    authors = next((each for each in mappings if _is_authors(each)), None)
    settings: dict[str, Any] = {}
    remarks: tuple[str, ...] = ()
    if authors is not None:
        flat = dict(_flat(authors))
        settings = {ours: flat[theirs] for theirs, ours in _SHOWN.items() if theirs in flat}
        remarks = tuple(_unknown(flat))
        _refuse_padding(path, flat.get("MODEL.SWIN.PADDING_MODE"), "MODEL.SWIN.PADDING_MODE")
    for mapping in mappings:
        if mapping.get("padding_mode") is not None and "qk_scale" in mapping:
            _refuse_padding(path, mapping["padding_mode"], "padding_mode")
    hub = hub or {}
    size = hub.get("image_size", hub.get("img_size"))
    pretrained = hub.get("pretrained_cfg")
    if size is None and isinstance(pretrained, dict):
        shape = pretrained.get("input_size")
        size = shape[-2:] if isinstance(shape, list) else None
    found = {"image_size": size, "window_size": hub.get("window_size")}
    settings |= {name: value for name, value in found.items() if value is not None}
    settings = {name: value for name, value in settings.items() if _is_plain(value)}
    scale = _scale(path, [*mappings, hub])
    return Stated(settings if scale is None else settings | {"qk_scale": scale}, remarks)


def _mappings(content: Any) -> Iterator[Mapping[Any, Any]]:
    """Every mapping of a file that may hold settings: dicts, and attributes of other objects."""
    entered: dict[int, Any] = {}  # kept, so that no other object gets the same identity
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        if id(value) in entered or depth > _MAX_DEPTH:
            continue
        if not isinstance(value, dict | list | tuple | Placeholder):
            continue
        entered[id(value)] = value
        inside: list[Any] = []
        if isinstance(value, Placeholder):
            inside = [value.items, value.attributes, *value.elements, *value.arguments]
        elif isinstance(value, dict):
            yield value
            inside = list(value.values())
        else:
            inside = list(value)
        waiting += [(each, depth + 1) for each in reversed(inside)]


def _is_authors(mapping: Mapping[Any, Any]) -> bool:
    model, data = mapping_of(mapping.get("MODEL")), mapping_of(mapping.get("DATA"))
    return bool({"SWIN", "SLIDE"} & set(model or ()) or "IMG_SIZE" in (data or ()))


def _flat(
    section: Mapping[Any, Any], prefix: str = "", depth: int = 0
) -> Iterator[tuple[str, Any]]:
    """Settings by their dotted names."""
    for key, value in section.items():
        inner = mapping_of(value)
        if inner is not None and depth < _MAX_DEPTH:
            yield from _flat(inner, f"{prefix}{key}.", depth + 1)
        else:
            yield f"{prefix}{key}", value


def _unknown(flat: Mapping[str, Any]) -> Iterator[str]:
    """Settings of the network that this project has never heard of."""
    for name, value in flat.items():
        known = name in _SHOWN or name in _WITHOUT_EFFECT or name.startswith(_OTHER_NETWORKS)
        if name.startswith("MODEL.") and not known and not isinstance(value, dict):
            yield (
                f"the stored configuration has {name} = {_shown(value)}, a setting that is not "
                f"known: if it changes what the network computes, the files are wrong"
            )
    kind = flat.get("MODEL.TYPE")
    if isinstance(kind, str) and kind not in ("slide_swin", "swin"):
        yield f"the stored configuration is of a network called {kind}, read as Slide-Swin"


def _refuse_padding(path: Path, mode: Any, name: str) -> None:
    if mode not in (None, "zeros"):
        raise InputError(
            f"{path} was trained with {name} {_shown(mode)}: the released Slide-Swin ignores this "
            f"setting and pads with zeros, other code does not; fold such a model in Python, with "
            f"SlideSwinConfig(padding_mode=...)."
        )


def _scale(path: Path, mappings: list[Mapping[Any, Any]]) -> float | None:
    """The factor on the queries where a configuration sets one; None for the usual one."""
    found: set[float] = set()
    for mapping in mappings:
        for key, value in mapping.items():
            if not isinstance(key, str) or key.lower() != "qk_scale" or not value:
                continue  # as in the authors' code 0 stands for the usual scale, like None
            if not isinstance(value, int | float) or not math.isfinite(value) or value is True:
                raise InputError(f"{path} says {key} {_shown(value)}: a finite number is expected.")
            found.add(float(value))
    if len(found) > 1:
        values = " and ".join(map(str, sorted(found)))
        raise InputError(f"{path} says qk_scale {values}: save it with the one that was trained.")
    return next(iter(found), None)


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a switch or a list of numbers; a file can hold anything."""
    if isinstance(value, list | tuple):
        return all(type(item) is int for item in value)
    return isinstance(value, int | float)


def _shown(value: Any) -> str:
    text = value.name if isinstance(value, Placeholder) else str(value)[:40]
    return " ".join(text.split())
