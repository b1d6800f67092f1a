"""Find the weights in the folder of a model hub, of distributed training, or of DeepSpeed.

A hub's folder holds ``config.json`` and the weights, in one file or in shards that an index lists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slide_deploy.checkpoint.averages import names_an_average
from slide_deploy.checkpoint.distributed import METADATA
from slide_deploy.errors import InputError
from slide_deploy.files.reading import read_json

_SINGLE = ("model.safetensors", "pytorch_model.bin")
_WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".tar")
_DEEPSPEED = "mp_rank_00_model_states.pt"
_TAG = "latest"
# Files of a training run that hold no weights.
_BESIDE = re.compile(
    r"optimizer|scheduler|scaler|rng_state|random_states|training_args|zero_pp_rank"
)


@dataclass(frozen=True)
class Located:
    """The files with the weights of a checkpoint.

    Attributes:
        files: the files to read: all shards of one state dict, or one file.
        distributed: whether they are the list and the pieces of a distributed checkpoint.
        config: the content of the ``config.json`` beside them, if there is one.
        unread: names of other files with weights in the same folder.
    """

    files: tuple[Path, ...]
    distributed: bool = False
    config: Mapping[str, Any] | None = None
    unread: tuple[str, ...] = ()


def locate(path: Path) -> Located:
    """Find the files that hold the weights of a checkpoint.

    Args:
        path: a file, an index of shards, or a folder.

    Raises:
        InputError: there is no checkpoint, or several and no way to choose.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist: check the name of the checkpoint.")
    if path.is_dir():
        return _in_folder(path)
    if not path.is_file():
        raise InputError(f"{path} is not a regular file: copy the checkpoint into one.")
    if path.suffix == ".distcp" and (path.parent / METADATA).is_file():
        raise InputError(f"{path} is a piece of a distributed checkpoint: give {path.parent}.")
    if path.name.endswith(".index.json"):
        return Located(_shards(path), config=_config(path.parent))
    if path.name == METADATA:
        return _in_folder(path.parent)
    if path.name == "config.json" and _is_hub(_read_json(path)):
        return _in_folder(path.parent)
    return Located((path,), config=_config(path.parent, any_kind=path.name in _SINGLE))


def _in_folder(folder: Path) -> Located:
    if (folder / METADATA).is_file():
        pieces = sorted(folder.glob("*.distcp"))
        return Located((folder / METADATA, *pieces), distributed=True)
    indexes = [item for item in sorted(folder.glob("*.index.json")) if item.is_file()]
    preferred = [item for item in indexes if ".safetensors." in item.name] or indexes
    if len(preferred) == 1:
        return locate(preferred[0])
    deepspeed = _deepspeed(folder)
    if deepspeed is not None:
        return Located((deepspeed,), config=_config(folder, any_kind=True))
    single = [folder / name for name in _SINGLE if (folder / name).is_file()]
    files = sorted(
        item
        for item in folder.iterdir()
        if item.is_file() and item.suffix in _WEIGHTS and not _BESIDE.match(item.name)
    )
    if single or len(files) == 1:
        taken = (single or files)[0]
        unread = tuple(item.name for item in files if item != taken)
        averages = [name for name in unread if names_an_average([name])]
        if averages:
            raise InputError(
                f"{folder} holds {taken.name} and {averages[0]}: give one of the two files."
            )
        return Located((taken,), config=_config(folder, any_kind=True), unread=unread)
    inside = files or sorted(item for item in folder.iterdir() if item.is_dir())
    held = f" ({', '.join(item.name for item in inside[:4])})" if inside else ""
    raise InputError(f"{folder} is a directory: give the checkpoint inside it{held}.")


def _deepspeed(folder: Path) -> Path | None:
    """The weights of a DeepSpeed folder, whose file ``latest`` names the last step; or None."""
    tag = folder / _TAG
    inside = [folder / _DEEPSPEED, folder / "checkpoint" / _DEEPSPEED]
    if tag.is_file() and tag.stat().st_size < 256:
        step = tag.read_text(errors="replace").strip()
        if step and Path(step).name == step:
            inside.append(folder / step / _DEEPSPEED)
    found = next((file for file in inside if file.is_file()), None)
    if found is not None and found.with_name(_DEEPSPEED.replace("00", "01")).exists():
        raise InputError(
            f"{folder} holds a model that is split over several devices: gather it with DeepSpeed "
            f"and save one state dict."
        )
    return found


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index lists.

    Raises:
        InputError: it lists none, or one outside its folder, or a shard is missing.
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


def _config(folder: Path, any_kind: bool = False) -> Mapping[str, Any] | None:
    """The ``config.json`` of a folder; None unless it describes a network or any kind is wanted."""
    file = folder / "config.json"
    content = _read_json(file) if file.is_file() else {}
    return content if any_kind or _is_hub(content) else None


def _is_hub(content: Mapping[str, Any]) -> bool:
    """Whether a ``config.json`` describes a network."""
    return any(key in content for key in ("architectures", "architecture", "model_type"))


def _read_json(file: Path) -> Mapping[str, Any]:
    try:
        content = read_json(file)
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON ({error}): copy it again.") from error
    return content if isinstance(content, dict) else {}
