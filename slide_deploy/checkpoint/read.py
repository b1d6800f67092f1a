"""Read named tensors from a checkpoint without running code from it.

Networks are found by their tensors: a network anywhere in the file is a candidate, whatever its
keys are called. Only tensors and plain data are built (``unpickle``), and only the numbers of the
chosen network are read.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from slide_deploy.checkpoint.averages import OPTIMISER, unreadable_average
from slide_deploy.checkpoint.choice import Chosen, Overrides, choose
from slide_deploy.checkpoint.distributed import read_distributed
from slide_deploy.checkpoint.entries import CheckpointEntry, key_text, pickled_modules, tensors_of
from slide_deploy.checkpoint.file_kind import kind_of
from slide_deploy.checkpoint.hub import Located, locate
from slide_deploy.checkpoint.networks import NetworkFinder, StoredNetwork, some
from slide_deploy.checkpoint.safetensors_file import read_safetensors
from slide_deploy.checkpoint.stated import Stated
from slide_deploy.checkpoint.torch_file import read_torch
from slide_deploy.checkpoint.unexpected import (
    below_network,
    grouped,
    is_preprocessing,
    refuse_other_weights,
    sort_unexpected,
)
from slide_deploy.checkpoint.unpickle import Placeholder
from slide_deploy.errors import InputError
from slide_deploy.files.hashing import sha256

CONFIG_KEY = "slide_deploy.config"
"""Metadata key in safetensors files that this project writes: the settings as JSON."""
RESIZED_KEY = "slide_deploy.resized_position_tables"
"""Another metadata key: names of the interpolated position tables, separated by blanks."""


@dataclass(frozen=True)
class StoredWeights:
    """The chosen network of a checkpoint.

    Attributes:
        path: the file or folder.
        sha256: digest of its bytes; for a folder, digest of the hashes of its files.
        entry: the keys and prefixes that lead to the network; empty if its own names come first.
        tensors: by the architecture's names, on the CPU.
        stated: the settings that the file states beside the tensors.
        settings: the settings that this project stored with a folded model.
        resized: names of the position tables that were interpolated before they were stored.
        remarks: how the network was chosen, and what was left out, in words.
        left_out: names of all tensors of the file that are not part of the network.
    """

    path: Path
    sha256: str
    entry: str
    tensors: dict[str, Tensor]
    stated: Stated
    settings: Mapping[str, Any] | None = None
    resized: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True)
class OpenedCheckpoint:
    """The structure of a checkpoint, without the numbers of its tensors.

    Attributes:
        path: the file or folder.
        sha256: digest of its bytes; for a folder, digest of the hashes of its files.
        content: the whole structure; tensors are read later.
        metadata: metadata of a safetensors file.
        entries: all tensors.
        located: its files.
    """

    path: Path
    sha256: str
    content: Any
    metadata: Mapping[str, str]
    entries: tuple[CheckpointEntry, ...]
    located: Located


def open_checkpoint(path: Path) -> OpenedCheckpoint:
    """Read the structure of a checkpoint: a file, an index of shards or a folder.

    Raises:
        InputError: it is missing or damaged.
    """
    try:
        located = locate(path)
        digest = _digest(located.files)
        content, metadata = _content(path, located)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): check the path and its permissions."
        ) from error
    return OpenedCheckpoint(path, digest, content, metadata, tuple(tensors_of(content)), located)


def weights_of(
    opened: OpenedCheckpoint,
    finder: NetworkFinder,
    networks: Sequence[StoredNetwork],
    outside: Sequence[CheckpointEntry],
    wanted: Overrides,
) -> StoredWeights:
    """Choose a network and read its numbers.

    Args:
        opened: the checkpoint.
        finder: the kind of network that was looked for.
        networks: the networks that were found, at least one.
        outside: tensors that belong to none.
        wanted: the user's choice among them.

    Raises:
        InputError: no network fits the user's choice, several do, or the numbers cannot be used.
    """
    path = opened.path
    size = max(sum(tensor.count for tensor in each.tensors.values()) for each in networks)
    unreadable = unreadable_average(outside, pickled_modules(opened.content), size)
    chosen = choose(
        path, networks, opened.content, finder, wanted.weights, wanted.entry, unreadable
    )
    network = chosen.network
    apart = set(map(id, outside))
    start = len(network.root)
    below_root = [each for each in opened.entries if each.path[:start] == network.root]
    refuse_other_weights(
        path,
        (
            each.name
            for each in below_root
            if id(each) not in apart and ".".join(each.path[start:]) not in network.tensors
        ),
        (each.name for each in outside if not OPTIMISER & set(each.path)),
    )
    _refuse_other_forms(path, network)
    finder.refuse_incomplete(path, network)
    unexpected, constants = sort_unexpected(path, network, finder, wanted.leave_out)
    tensors = {name: tensor.read(f"{path}: {name}") for name, tensor in network.tensors.items()}
    beside = (network.unexpected[name].name for name in (*unexpected, *constants))
    left_out = (*beside, *(each.name for each in outside))
    unread = opened.located.unread
    return StoredWeights(
        path=path,
        sha256=opened.sha256,
        entry=network.label,
        tensors=tensors,
        stated=finder.stated(path, opened.content, opened.located.config),
        settings=_settings(path, opened.metadata),
        resized=tuple(opened.metadata.get(RESIZED_KEY, "").split()),
        remarks=tuple(_remarks(chosen, finder, unexpected, constants, outside, unread)),
        left_out=left_out,
    )


def _digest(files: tuple[Path, ...]) -> str:
    if len(files) == 1:
        return sha256(files[0])
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name} {sha256(file)}\n".encode())
    return whole.hexdigest()


def _content(path: Path, located: Located) -> tuple[Any, Mapping[str, str]]:
    """The content of the files, and the metadata of a safetensors file."""
    if located.distributed:
        return read_distributed(located.files[0].parent), {}
    whole: dict[Any, Any] = {}
    for file in located.files:
        if file.stat().st_size == 0:
            raise InputError(f"{file} is empty: copy the checkpoint again.")
        kind = kind_of(file, shard_of_many=len(located.files) > 1)
        if kind == "safetensors":
            content, metadata = read_safetensors(file)
        else:
            content, metadata = read_torch(file), {}
        if len(located.files) == 1:
            return content, metadata
        if not isinstance(content, dict) or whole.keys() & content.keys():
            raise InputError(
                f"{file} is not a shard of a state dict: copy all files of {path} again."
            )
        whole |= content
    return whole, {}


def _settings(path: Path, metadata: Mapping[str, str]) -> Mapping[str, Any] | None:
    if CONFIG_KEY not in metadata:
        return None
    try:
        settings = json.loads(metadata[CONFIG_KEY])
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} has broken settings ({error}): fold it again.") from error
    if not isinstance(settings, dict):
        raise InputError(f"{path} has settings that are not a JSON object: fold it again.")
    return settings


def refuse_without_network(
    opened: OpenedCheckpoint, absent: Callable[[Path, list[str]], None]
) -> NoReturn:
    """Report what a checkpoint without a known network holds.

    Args:
        opened: the checkpoint.
        absent: is given the path and the names of all tensors, and raises if there are any.

    Raises:
        InputError: always.
    """
    path, content = opened.path, opened.content
    modules = list(pickled_modules(content))
    if modules:
        raise InputError(
            f"{path} holds a pickled module ({modules[0][1]}), which is code and was not run: save "
            f"model.state_dict() with torch.save in the program that made it and use that file."
        )
    names = [entry.name for entry in opened.entries]
    refuse_other_weights(path, names)
    absent(path, names)
    if isinstance(content, Placeholder):
        raise InputError(
            f"{path} holds {content.name}, which is code and was not run: save model.state_dict() "
            f"with torch.save and use that file."
        )
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__} and no state dict: save model.state_dict() "
            f"instead."
        )
    keys = ", ".join(map(key_text, list(content)[:6])) or "nothing"
    raise InputError(
        f"{path} holds no state dict (found {keys}): save model.state_dict() with torch.save."
    )


def _refuse_other_forms(path: Path, network: StoredNetwork) -> None:
    """Raise InputError if the network's tensors cannot be used as stored."""
    if network.doubled:
        raise InputError(
            f"{path} holds {network.doubled[0]} twice, under names that differ only by a wrapper's "
            f"part: save the state dict of one of them."
        )
    empty = [name for name, tensor in network.tensors.items() if tensor.count == 0]
    if empty:
        raise InputError(
            f"{path} holds no numbers for {some(empty)}: a run with partitioned weights (DeepSpeed "
            f"ZeRO-3) saves them elsewhere; gather them with its zero_to_fp32.py first."
        )


def _remarks(
    chosen: Chosen,
    finder: NetworkFinder,
    unexpected: list[str],
    constants: list[str],
    outside: Sequence[CheckpointEntry],
    unread: tuple[str, ...],
) -> list[str]:
    remarks = list(chosen.remarks)
    network = chosen.network
    channels = finder.channels(network)
    names = [network.unexpected[name].name for name in unexpected]
    for each in outside:
        name = below_network(network, each.name)
        if is_preprocessing(name, each, channels):
            constants.append(name)
        else:
            names.append(each.name)
    if unread:
        remarks.append(f"other files of the folder were not read: {some(list(unread))}")
    if names:
        remarks.append(
            f"left out, because they are not part of the network: {grouped(chosen.network, names)}"
        )
    if constants:
        remarks.append(
            f"{', '.join(constants)} left out: they may belong to the preprocessing, which "
            f"exported files do not contain"
        )
    return remarks
