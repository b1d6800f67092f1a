"""The weights of a module that somebody else built, found in a file by the module's own names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from slide_deploy.checkpoint.entries import WRAPPERS, CheckpointEntry, Path
from slide_deploy.checkpoint.networks import StoredNetwork, below_roots, some
from slide_deploy.checkpoint.stated import Stated
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.strangers import may_be_absent
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Slot:
    """A tensor of a module that a file must fill.

    Attributes:
        name: as the module has it, wrappers included.
        shape: of its numbers; None where the module learns it from the file.
        dtype: of its numbers.
        buffer: whether it is no parameter.
        frozen: whether training leaves it as it is: a buffer, or a parameter without gradient.
        shared: the slots that are the same tensor, by the names of a file; itself among them.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    buffer: bool
    frozen: bool
    shared: tuple[str, ...]

    def fits(self, tensor: StoredTensor) -> bool:
        """Whether a stored tensor has the shape that is needed."""
        return self.shape is None or self.shape == tensor.shape


class ModuleNetworks:
    """How the weights of a module are found: by the names and shapes of its state dict.

    Args:
        module: as its factory gave it; left as it is.
        title: what messages call it.

    Raises:
        InputError: if the module has no tensors, or two whose names differ only by the part of a
            wrapper.
    """

    def __init__(self, module: nn.Module, title: str) -> None:
        self.title = title
        self.slots = _slots(module, title)
        trained = [name for name, slot in self.slots.items() if not slot.frozen]
        self._needed = trained or [name for name in self.slots if not may_be_absent(name)]

    def networks(
        self, entries: Sequence[CheckpointEntry]
    ) -> tuple[list[StoredNetwork], list[CheckpointEntry]]:
        """See ``Sought``.

        A root counts where all trained tensors of the module stand below it in the right shapes.
        Where there is none, the one with the most of them does, so that a message can tell what it
        lacks.
        """
        found: dict[Path, dict[str, CheckpointEntry]] = {}
        for entry in entries:
            for start in range(len(entry.path)):
                name = self._name(entry.path[start:])
                if name is not None:
                    found.setdefault(entry.path[:start], {}).setdefault(name, entry)
        whole = [root for root, held in found.items() if self._is_whole(held)]
        # Where the last part of a root is a wrapper's, the root without it leads to the same.
        longer = {root[:-1] for root in whole if root and root[-1] in WRAPPERS}
        whole = [root for root in whole if root not in longer]
        if not whole:
            whole = sorted(found, key=lambda root: (-self._fitting(found[root]), len(root)))[:1]
        flat = {
            root: all(entry.depth <= len(root) for entry in found[root].values()) for root in whole
        }
        below, outside = below_roots(entries, flat)
        return [self._network(root, below[root]) for root in whole], outside

    def _name(self, relative: Path) -> str | None:
        """The name of a tensor without parts of wrappers; None where the module has no such."""
        name = ".".join(part for part in relative if part not in WRAPPERS)
        return name if name in self.slots and relative[-1:] == (name.rpartition(".")[2],) else None

    def _is_whole(self, held: Mapping[str, CheckpointEntry]) -> bool:
        return all(
            any(other in held for other in self.slots[name].shared)
            and (name not in held or self.slots[name].fits(held[name].tensor))
            for name in self._needed
        )

    def _fitting(self, held: Mapping[str, CheckpointEntry]) -> int:
        """How many tensors are there, those in the right shape twice."""
        return sum(1 + self.slots[name].fits(entry.tensor) for name, entry in held.items())

    def _network(self, root: Path, entries: Sequence[CheckpointEntry]) -> StoredNetwork:
        tensors: dict[str, StoredTensor] = {}
        strangers: dict[str, CheckpointEntry] = {}
        doubled: list[str] = []
        for entry in entries:
            relative = entry.path[len(root) :]
            name = self._name(relative)
            if name is None:
                strangers[".".join(relative)] = entry
                continue
            if name in tensors:
                doubled.append(name)
            tensors[name] = entry.tensor
        for name, slot in self.slots.items():
            one = next((other for other in slot.shared if other in tensors), None)
            if one is not None:  # a file may leave out what is the same tensor
                tensors.setdefault(name, tensors[one])
        return StoredNetwork(root, tensors, strangers, tuple(doubled))

    def refuse_absent(self, path: FilePath, names: list[str]) -> None:
        """Say that a file with tensors of these names holds nothing of the module.

        Raises:
            InputError: always, unless there is no name.
        """
        if names:
            has = some([slot.name for slot in self.slots.values()])
            raise InputError(
                f"{path} holds no tensor of {self.title}, which has {has}: the file has "
                f"{some(sorted(names))}; name the weights of this network."
            )

    def refuse_incomplete(self, path: FilePath, network: StoredNetwork) -> None:
        """See ``Sought``."""
        place = f" below {network.label}" if network.root else ""
        lacking = [
            slot.name
            for name, slot in self.slots.items()
            if name not in network.tensors and not (slot.buffer and may_be_absent(name))
        ]
        if lacking:
            raise InputError(
                f"{path} lacks {some(lacking)}{place}, which {self.title} has: name the weights of "
                f"this network, or build the one of the file, with --model-args where its factory "
                f"takes some."
            )
        unlike = [
            name
            for name, tensor in network.tensors.items()
            if not self.slots[name].fits(tensor)
            and not (self.slots[name].buffer and may_be_absent(name))
        ]
        if unlike:
            slot, *rest = (self.slots[name] for name in unlike)
            others = f" ({some([each.name for each in rest])} not either)" if rest else ""
            raise InputError(
                f"{path}: {slot.name}{place} has the shape {network.tensors[unlike[0]].shape} and "
                f"{self.title} needs {slot.shape}{others}: build the network of the file, with "
                f"--model-args where its factory takes some."
            )

    def frozen(self, name: str) -> bool:
        """See ``Sought``."""
        return name in self.slots and self.slots[name].frozen

    def derived(self, name: str) -> bool:
        """See ``Sought``."""
        return may_be_absent(name)

    def channels(self, network: StoredNetwork) -> tuple[int, ...]:
        """See ``Sought``: those of the first convolution."""
        shapes = [tensor.shape for tensor in network.tensors.values() if len(tensor.shape) == 4]
        return shapes[0][1:2] if shapes else ()

    def stated(self, path: FilePath, content: Any, hub: Mapping[str, Any] | None) -> Stated:
        """See ``Sought``: nothing, as the code that built the module has the settings."""
        return Stated()


def _slots(module: nn.Module, title: str) -> dict[str, Slot]:
    """The tensors of a module by the names that they have in files, without parts of wrappers."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    # A factory may freeze a whole network for inference, which says nothing of its training.
    asked = {name for name, tensor in parameters.items() if tensor.requires_grad}
    trained = asked or set(parameters)
    held = {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }
    if not held:
        raise InputError(
            f"{title} has no weights that a file could hold: leave out --weights-file."
        )
    bare: dict[str, str] = {}
    for name in held:
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if short in bare:
            raise InputError(
                f"{title} has {bare[short]} and {name}, whose names differ by a wrapper's part "
                f"only: load its weights in the factory and leave out --weights-file."
            )
        bare[short] = name
    same: dict[int, list[str]] = {}
    for short, name in bare.items():
        same.setdefault(id(held[name]), []).append(short)
    return {
        short: Slot(
            name=name,
            shape=None if is_lazy(held[name]) else tuple(held[name].shape),
            dtype=held[name].dtype,
            buffer=name not in parameters,
            frozen=name not in trained,
            shared=tuple(same[id(held[name])]),
        )
        for short, name in bare.items()
    }
