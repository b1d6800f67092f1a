"""The networks in a file, at any key.

A network is found by the names of its tensors, not by the key under which it is stored. The path
before these names is its root. Every tensor below the root belongs to the network or is unexpected.
A :class:`NetworkFinder` has the names: ``module_networks`` for a user's module, and each known
family for its own networks.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Protocol

from slide_deploy.checkpoint.entries import CheckpointEntry, Path
from slide_deploy.checkpoint.stated import Stated
from slide_deploy.checkpoint.stored_tensor import StoredTensor


@dataclass(frozen=True)
class StoredNetwork:
    """A network in a file.

    Attributes:
        root: the keys and prefixes that lead to it.
        tensors: its tensors, by the names of the finder.
        unexpected: tensors below its root that are not part of it, by name below the root.
        doubled: names that the file has twice below this root.
    """

    root: Path
    tensors: dict[str, StoredTensor]
    unexpected: dict[str, CheckpointEntry]
    doubled: tuple[str, ...]

    @property
    def label(self) -> str:
        """The dotted root; empty if the names of the network come first."""
        return ".".join(self.root)

    @property
    def in_words(self) -> str:
        """The root as a phrase for messages."""
        return self.label or "the file's own names"


class NetworkFinder(Protocol):
    """Finds the networks of one kind in a file, and classifies their tensors by name."""

    @property
    def title(self) -> str:
        """The kind of network in messages, such as "a Slide-Swin of these settings"."""

    def networks(
        self, entries: Sequence[CheckpointEntry]
    ) -> tuple[list[StoredNetwork], list[CheckpointEntry]]:
        """Find every such network of a file, in the file's order.

        Returns:
            The networks, and the tensors that belong to none.
        """

    def refuse_incomplete(self, path: FilePath, network: StoredNetwork) -> None:
        """Check that a network is complete.

        Raises:
            InputError: it lacks a tensor.
        """

    def frozen(self, name: str) -> bool:
        """Whether training leaves a tensor unchanged, so that an average may leave it out."""

    def derived(self, name: str) -> bool:
        """Whether a tensor is derived from the settings, so that an average may leave it out."""

    def channels(self, network: StoredNetwork) -> tuple[int, ...]:
        """The number of channels of its images, as a shape of one size; empty if it is unknown."""

    def stated(self, path: FilePath, content: Any, hub: Mapping[str, Any] | None) -> Stated:
        """The settings that the file states beside the tensors."""


def below_roots(
    entries: Iterable[CheckpointEntry], flat: Mapping[Path, bool]
) -> tuple[dict[Path, list[CheckpointEntry]], list[CheckpointEntry]]:
    """Group the tensors of a file by the network below whose root they are.

    Args:
        entries: all tensors.
        flat: by the root of each network, whether it is a flat state dict. A mapping below such a
            root belongs to something else.

    Returns:
        The tensors below each root, where the longest root that fits counts, and those below none.
    """
    longest_first = sorted(flat, key=len, reverse=True)
    below: dict[Path, list[CheckpointEntry]] = {root: [] for root in flat}
    outside: list[CheckpointEntry] = []
    for entry in entries:
        for root in longest_first:
            if len(entry.path) > len(root) and entry.path[: len(root)] == root:
                apart = flat[root] and entry.depth > len(root)
                (outside if apart else below[root]).append(entry)
                break
        else:
            outside.append(entry)
    return below, outside


def network_below(
    root: Path, entries: Iterable[CheckpointEntry], name_of: Callable[[Path], str | None]
) -> StoredNetwork:
    """Build a network of the tensors below its root; those without a ``name_of`` are unexpected."""
    tensors: dict[str, StoredTensor] = {}
    doubled: list[str] = []
    unexpected: dict[str, CheckpointEntry] = {}
    for entry in entries:
        relative = entry.path[len(root) :]
        name = name_of(relative)
        if name is None:
            unexpected[".".join(relative)] = entry
            continue
        if name in tensors:
            doubled.append(name)
        tensors[name] = entry.tensor
    return StoredNetwork(root, tensors, unexpected, tuple(doubled))


def some(names: list[str]) -> str:
    """Up to three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
