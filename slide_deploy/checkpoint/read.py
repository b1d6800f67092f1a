"""A checkpoint file to named tensors, without running anything that the file says.

``torch.load`` is always called with ``weights_only=True``. Training runs pickle a ``yacs`` config,
which is a dict subclass: that one name is read as an ``OrderedDict``.
"""

import argparse
import json
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from slide_deploy.errors import InputError
from slide_deploy.hashing import sha256

WeightChoice = Literal["auto", "averaged", "raw"]

AVERAGED_KEYS = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
RAW_KEYS = ("model", "state_dict", "model_state_dict", "net")
# What wrappers put before every name: distributed training and torch.compile.
_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")

# What detectors and segmenters put before the names of the network that extracts features.
_BACKBONE = "backbone."


class _Ignored:
    """What numpy's objects become: training scripts store some beside the weights; none is needed.

    Built as what they are, they would take any state that the file says.
    """

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


# Classes that a file may name, and what is built in their place. None of it runs code.
_PLAIN_DATA: list[Any] = [
    (OrderedDict, "yacs.config.CfgNode"),
    argparse.Namespace,
    *(
        (_Ignored, f"numpy.{name}")
        for name in (
            "dtype",
            "ndarray",
            "core.multiarray.scalar",
            "core.multiarray._reconstruct",
            "_core.multiarray.scalar",
            "_core.multiarray._reconstruct",
        )
    ),
]

CONFIG_KEY = "slide_deploy.config"
"""Metadata entry of a safetensors file written by this project: the settings as JSON."""
RESIZED_KEY = "slide_deploy.resized_position_tables"
"""Another: names of the position tables that were interpolated, blanks between them."""


@dataclass(frozen=True)
class StoredWeights:
    """What a checkpoint file holds.

    Args:
        path: the file.
        sha256: of its bytes.
        entry: the entry that the weights came from; empty where the file is the state dict.
        tensors: by name, wrappers' prefixes removed, on the CPU.
        config: the training run's configuration where the file has one.
        settings: the settings that this project stored with a folded model.
        resized: names of the tables that were interpolated before they were stored.
        left_out: how many tensors of a detector belong to other parts than its backbone.
    """

    path: Path
    sha256: str
    entry: str
    tensors: dict[str, Tensor]
    config: Mapping[str, Any] | None = None
    settings: Mapping[str, Any] | None = None
    resized: tuple[str, ...] = ()
    left_out: int = 0


def read_checkpoint(path: Path, weights: WeightChoice = "auto") -> StoredWeights:
    """Read the weights of a ``.pth``, ``.pt`` or ``.safetensors`` file.

    Args:
        path: the file.
        weights: "averaged" or "raw" for the averaged or the last weights of a training run; "auto"
            prefers averaged ones.

    Raises:
        InputError: if the file is missing, is not a checkpoint, holds anything but plain data, or
            does not have the weights that were asked for.
    """
    if path.is_dir():
        raise InputError(f"{path} is a directory: name the checkpoint file inside it.")
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name of the checkpoint.")
    try:
        digest = sha256(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check it.") from error
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty: copy the checkpoint again.")
    if path.suffix == ".safetensors":
        return _read_safetensors(path, digest, weights)
    if path.suffix == ".onnx":
        raise InputError(f"{path} is an ONNX file: name the checkpoint that it was exported from.")
    content = _load(path)
    entry, tensors = _choose(path, content, weights)
    inside, left_out = _backbone(tensors)
    config = content.get("config") if entry else None
    settings = config if isinstance(config, Mapping) else None
    return StoredWeights(path, digest, entry, inside, settings, left_out=left_out)


def _read_safetensors(path: Path, digest: str, weights: WeightChoice) -> StoredWeights:
    from safetensors import SafetensorError, safe_open

    if weights == "averaged":
        raise InputError(f"{path} holds one set of weights: leave out --weights averaged.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a whole safetensors file ({error}): copy it again.") from (
            error
        )
    settings = None
    if CONFIG_KEY in metadata:
        try:
            settings = json.loads(metadata[CONFIG_KEY])
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path} has broken settings ({error}): fold it again.") from error
    resized = tuple(metadata.get(RESIZED_KEY, "").split())
    inside, left_out = _backbone(_unwrap(path, tensors))
    return StoredWeights(path, digest, "", inside, None, settings, resized, left_out)


def _load(path: Path) -> Mapping[str, Any]:
    _refuse_compression(path)
    try:
        with torch.serialization.safe_globals(_PLAIN_DATA):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named:
            raise InputError(
                f"{path} refers to {named[1]}, which is code and not weights: it was not run; save "
                f"model.state_dict() alone with torch.save and use that file."
            ) from error
        raise InputError(
            f"{path} is not a PyTorch checkpoint, or holds more than weights: save "
            f"model.state_dict() alone with torch.save and use that file."
        ) from error
    except Exception as error:  # torch.load answers damage with a dozen types of exception
        raise InputError(
            f"{path} is damaged or not a PyTorch checkpoint ({type(error).__name__}): "
            f"copy it again."
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(
            f"{path} holds a {type(content).__name__} and not a state dict: save "
            f"model.state_dict() instead."
        )
    return content


def _refuse_compression(path: Path) -> None:
    """PyTorch stores tensors as they are; a compressed archive may unfold to any size."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            kinds = {item.compress_type for item in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        return  # torch.load says what is wrong with it
    if kinds - {zipfile.ZIP_STORED}:
        raise InputError(f"{path} is a compressed archive: save it with torch.save again.")


def _choose(
    path: Path, content: Mapping[str, Any], weights: WeightChoice
) -> tuple[str, dict[str, Tensor]]:
    averaged = [key for key in AVERAGED_KEYS if _is_state_dict(content.get(key))]
    raw = [key for key in RAW_KEYS if _is_state_dict(content.get(key))]
    bare = not raw and _is_state_dict(content)
    wanted = {"averaged": averaged, "raw": raw, "auto": averaged + raw}[weights]
    if wanted:
        return wanted[0], _unwrap(path, content[wanted[0]])
    if bare and weights != "averaged":
        return "", _unwrap(path, content)
    if weights == "averaged" and (raw or bare):
        raise InputError(f"{path} holds no averaged weights: leave out --weights averaged.")
    if weights == "raw" and averaged:
        raise InputError(f"{path} holds averaged weights only: leave out --weights raw.")
    names = ", ".join(map(str, list(content)[:6])) or "nothing"
    raise InputError(
        f"{path} holds no state dict (found {names}): expected one under "
        f"{', '.join(RAW_KEYS)} or {AVERAGED_KEYS[0]}, or a bare one."
    )


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and len(value) > 0
        and all(
            isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
        )
    )


def _backbone(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """The backbone's tensors of a detector or segmenter, and how many others it has.

    Of a model that is no such thing, all tensors.
    """
    if f"{_BACKBONE}patch_embed.proj.weight" not in tensors:
        return tensors, 0
    inside = {
        name.removeprefix(_BACKBONE): tensor
        for name, tensor in tensors.items()
        if name.startswith(_BACKBONE)
    }
    return inside, len(tensors) - len(inside)


def _unwrap(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    unwrapped: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise InputError(f"{path}: {name} is not a plain tensor: save plain weights.")
        # A stride of zero makes a small file claim a tensor that no memory holds.
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise InputError(
                f"{path}: {name} claims more elements than are stored: export it again."
            )
        plain = _WRAPPERS.sub("", name)
        if plain in unwrapped:
            raise InputError(f"{path} holds {plain} twice, with and without a wrapper's prefix.")
        unwrapped[plain] = tensor
    return unwrapped
