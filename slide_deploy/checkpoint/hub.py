"""A folder with a checkpoint: of a hub, of distributed training, or of DeepSpeed.

A hub's folder holds ``config.json`` and the weights, in one file or in shards that an index lists.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.checkpoint.distributed import METADATA
from slide_deploy.errors import InputError

_SINGLE = ("model.safetensors", "pytorch_model.bin")
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_DEEPSPEED = "mp_rank_00_model_states.pt"
_TAG = "latest"
_MAX_JSON = 64 * 2**20


@dataclass(frozen=True)
class Located:
    """Where the weights that a path means are.

    Args:
        files: the files to read, all shards of one state dict, or one file.
        distributed: whether they are the pieces of a distributed checkpoint in their folder.
        config: the ``config.json`` beside them, where there is one.
    """

    files: tuple[Path, ...]
    distributed: bool = False
    config: Mapping[str, Any] | None = None


def locate(path: Path) -> Located:
    """Find the files that hold the weights of a checkpoint.

    Args:
        path: a file, an index of shards, or a folder.

    Raises:
        InputError: if there is nothing, or nothing that says which of several files is meant.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name of the checkpoint.")
    if path.is_dir():
        return _in_folder(path)
    if path.name.endswith(".index.json"):
        return Located(_shards(path), config=_config(path.parent))
    if path.name == METADATA:
        return _in_folder(path.parent)
    if path.name == "config.json" and _is_hub(_read_json(path)):
        return _in_folder(path.parent)
    return Located((path,), config=_config(path.parent) if path.name in _SINGLE else None)


def _in_folder(folder: Path) -> Located:
    if (folder / METADATA).is_file():
        pieces = sorted(folder.glob("*.distcp"))
        return Located((folder / METADATA, *pieces), distributed=True)
    indexes = sorted(folder.glob("*.index.json"))
    if len(indexes) == 1:
        return locate(indexes[0])
    single = [folder / name for name in _SINGLE if (folder / name).is_file()]
    files = sorted(item for item in folder.iterdir() if item.is_file() and item.suffix in _WEIGHTS)
    deepspeed = _deepspeed(folder)
    if deepspeed is not None:
        return Located((deepspeed,))
    if single or len(files) == 1:
        return Located(((single or files)[0],), config=_config(folder))
    held = f" ({', '.join(item.name for item in files[:4])})" if files else ""
    raise InputError(f"{folder} is a directory: name the checkpoint file inside it{held}.")


def _deepspeed(folder: Path) -> Path | None:
    """The weights of a DeepSpeed folder, which names its last step in a file of its own."""
    tag = folder / _TAG
    inside = [folder / _DEEPSPEED, folder / "checkpoint" / _DEEPSPEED]
    if tag.is_file() and tag.stat().st_size < 256:
        step = tag.read_text(errors="replace").strip()
        if step and Path(step).name == step:
            inside.append(folder / step / _DEEPSPEED)
    return next((file for file in inside if file.is_file()), None)


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index lists.

    Raises:
        InputError: if it lists none, leaves its folder, or if a shard is missing.
    """
    listed = _read_json(index).get("weight_map")
    if not isinstance(listed, dict) or not listed:
        raise InputError(f"{index} lists no tensors: it is not an index of shards.")
    names = sorted({str(name) for name in listed.values()})
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index} names {name}, which is not in its own folder.")
        if not (index.parent / name).is_file():
            raise InputError(f"{index} names {name}, which is missing: copy all shards.")
    return tuple(index.parent / name for name in names)


def _config(folder: Path) -> Mapping[str, Any] | None:
    file = folder / "config.json"
    content = _read_json(file) if file.is_file() else {}
    return content if _is_hub(content) else None


def _is_hub(content: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` describes a network."""
    return any(key in content for key in ("architectures", "architecture", "model_type"))


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        if file.stat().st_size > _MAX_JSON:
            raise ValueError("it is far too large")
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}): copy it again.") from error
    return content if isinstance(content, dict) else {}
