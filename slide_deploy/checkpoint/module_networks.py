"""Find the weights of a user's module in a file, by the names of its state dict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from slide_deploy.checkpoint.entries import WRAPPERS, CheckpointEntry, Path
from slide_deploy.checkpoint.networks import StoredNetwork, below_roots, network_below, some
from slide_deploy.checkpoint.stated import Stated
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.checkpoint.unexpected import may_be_absent
from slide_deploy.errors import InputError


@dataclass(frozen=True)
class Slot:
    """A tensor of a module, to be filled from a file.

    Attributes:
        name: name in the module, wrappers included.
        shape: its shape; None for a lazy parameter, whose shape comes from the file.
        dtype: its type.
        buffer: whether it is a buffer, not a parameter.
        frozen: whether training leaves it unchanged: a buffer, or a parameter without gradient.
        shared: names, as files have them, of all slots that are this same tensor, itself included.
    """

    name: str
    shape: tuple[int, ...] | None
    dtype: torch.dtype
    buffer: bool
    frozen: bool
    shared: tuple[str, ...]

    def fits(self, tensor: StoredTensor) -> bool:
        """Whether a stored tensor has the required shape."""
        return self.shape is None or self.shape == tensor.shape


class ModuleNetworks:
    """Finds the weights of a module by the names and shapes of its state dict.

    Args:
        module: the module, which is not changed.
        title: its name in messages.

    Raises:
        InputError: the module has no tensors, or two whose names differ only by a wrapper's part.
    """

    def __init__(self, module: nn.Module, title: str) -> None:
        self.title = title
        self.slots = _slots(module, title)
        trained = [name for name, slot in self.slots.items() if not slot.frozen]
        self._needed = trained or [name for name in self.slots if not may_be_absent(name)]

    def networks(
        self, entries: Sequence[CheckpointEntry]
    ) -> tuple[list[StoredNetwork], list[CheckpointEntry]]:
        """See ``NetworkFinder``.

        A root counts if all trained tensors of the module are below it in the right shapes. If
        there is none, the root with the most of them counts, so that a message can list what is
        missing.
        """
        found: dict[Path, dict[str, CheckpointEntry]] = {}
        for entry in entries:
            for start in range(len(entry.path)):
                name = self._name(entry.path[start:])
                if name is not None:
                    found.setdefault(entry.path[:start], {}).setdefault(name, entry)
        whole = [root for root, held in found.items() if self._is_whole(held)]
        # A root that ends with a wrapper's part leads to the same tensors as the root without it.
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
        """The name of a tensor without the parts of wrappers; None if the module has none such."""
        name = ".".join(part for part in relative if part not in WRAPPERS)
        return name if name in self.slots and relative[-1:] == (name.rpartition(".")[2],) else None

    def _is_whole(self, held: Mapping[str, CheckpointEntry]) -> bool:
        return all(
            any(other in held for other in self.slots[name].shared)
            and (name not in held or self.slots[name].fits(held[name].tensor))
            for name in self._needed
        )

    def _fitting(self, held: Mapping[str, CheckpointEntry]) -> int:
        """A score: the number of tensors found, those of the right shape counted twice."""
        return sum(1 + self.slots[name].fits(entry.tensor) for name, entry in held.items())

    def _network(self, root: Path, entries: Sequence[CheckpointEntry]) -> StoredNetwork:
        network = network_below(root, entries, self._name)
        for name, slot in self.slots.items():
            one = next((other for other in slot.shared if other in network.tensors), None)
            if one is not None:  # a file may store a shared tensor once
                network.tensors.setdefault(name, network.tensors[one])
        return network

    def refuse_absent(self, path: FilePath, names: list[str]) -> None:
        """Report that a file with tensors of these names holds none of the module.

        Raises:
            InputError: always, unless there are no names.
        """
        if names:
            has = some([slot.name for slot in self.slots.values()])
            raise InputError(
                f"{path} holds no tensor of {self.title}, which has {has}: the file has "
                f"{some(sorted(names))}; give the weights of this network."
            )

    def refuse_incomplete(self, path: FilePath, network: StoredNetwork) -> None:
        """See ``NetworkFinder``."""
        place = f" below {network.label}" if network.root else ""
        lacking = [
            slot.name
            for name, slot in self.slots.items()
            if name not in network.tensors and not (slot.buffer and may_be_absent(name))
        ]
        if lacking:
            raise InputError(
                f"{path} lacks {some(lacking)}{place}, which {self.title} has: give the weights of "
                f"this network, or build the network of the file, with --model-args if its factory "
                f"takes arguments."
            )
        unlike = [
            name
            for name, tensor in network.tensors.items()
            if not self.slots[name].fits(tensor)
            and not (self.slots[name].buffer and may_be_absent(name))
        ]
        if unlike:
            slot, *rest = (self.slots[name] for name in unlike)
            others = f" (also differs: {some([each.name for each in rest])})" if rest else ""
            raise InputError(
                f"{path}: {slot.name}{place} has the shape {network.tensors[unlike[0]].shape} and "
                f"{self.title} needs {slot.shape}{others}: build the network of the file, with "
                f"--model-args if its factory takes arguments."
            )

    def frozen(self, name: str) -> bool:
        """See ``NetworkFinder``."""
        return name in self.slots and self.slots[name].frozen

    def derived(self, name: str) -> bool:
        """See ``NetworkFinder``."""
        return may_be_absent(name)

    def channels(self, network: StoredNetwork) -> tuple[int, ...]:
        """See ``NetworkFinder``: those of the first convolution."""
        shapes = [tensor.shape for tensor in network.tensors.values() if len(tensor.shape) == 4]
        return shapes[0][1:2] if shapes else ()

    def stated(self, path: FilePath, content: Any, hub: Mapping[str, Any] | None) -> Stated:
        """See ``NetworkFinder``: nothing, because the module's own code has the settings."""
        return Stated()


def _slots(module: nn.Module, title: str) -> dict[str, Slot]:
    """The tensors of a module by their names in files, without the parts of wrappers."""
    parameters = dict(module.named_parameters(remove_duplicate=False))
    # A factory may freeze a whole network for inference, which does not mean it was not trained.
    with_gradient = {name for name, tensor in parameters.items() if tensor.requires_grad}
    trained = with_gradient or set(parameters)
    held = {
        name: tensor
        for name, tensor in module.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor)
    }
    if not held:
        raise InputError(f"{title} has no weights to load: leave out --weights-file.")
    bare: dict[str, str] = {}
    for name in held:
        short = ".".join(part for part in name.split(".") if part not in WRAPPERS)
        if short in bare:
            raise InputError(
                f"{title} has {bare[short]} and {name}, whose names differ only by a wrapper's "
                f"part: load its weights in the factory and leave out --weights-file."
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
