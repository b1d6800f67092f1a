"""The networks that a file holds, wherever they are in it.

A network is found by its own names, not by the key that it stands under: what comes before them is
its root, and every tensor below that root belongs to it or is a stranger there. Which names those
are is known to whoever looks for a network (:class:`Sought`): ``module_networks`` for a module that
somebody else built, and each of the known families for its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any, Protocol

from slide_deploy.checkpoint.entries import CheckpointEntry, Path
from slide_deploy.checkpoint.stated import Stated
from slide_deploy.checkpoint.stored_tensor import StoredTensor


@dataclass(frozen=True)
class StoredNetwork:
    """A network in a file.

    Args:
        root: the keys and prefixes that lead to it.
        tensors: by the names of the network that is looked for.
        strangers: what stands below its root and is not part of it, by name below the root.
        doubled: names that the file has twice below this root.
    """

    root: Path
    tensors: dict[str, StoredTensor]
    strangers: dict[str, CheckpointEntry]
    doubled: tuple[str, ...]

    @property
    def label(self) -> str:
        """The root as users read and write it; empty where the names of the network come first."""
        return ".".join(self.root)

    @property
    def in_words(self) -> str:
        """The root for a sentence."""
        return self.label or "the file's own names"


class Sought(Protocol):
    """What is looked for in a file: how its networks are found, and which of its names are what."""

    @property
    def title(self) -> str:
        """What a sentence calls it: "a Slide-Swin of these settings"."""

    def networks(
        self, entries: Sequence[CheckpointEntry]
    ) -> tuple[list[StoredNetwork], list[CheckpointEntry]]:
        """Find every such network of a file, in the file's order.

        Args:
            entries: all tensors of the file.

        Returns:
            The networks, and the tensors that belong to none.
        """

    def refuse_incomplete(self, path: FilePath, network: StoredNetwork) -> None:
        """Refuse a network that lacks something.

        Raises:
            InputError: if it does.
        """

    def frozen(self, name: str) -> bool:
        """Whether training leaves a tensor as it is, so that an average may leave it out."""

    def derived(self, name: str) -> bool:
        """Whether a tensor is computed from the settings, so that an average may leave it out."""

    def channels(self, network: StoredNetwork) -> tuple[int, ...]:
        """How many channels its images have, as a shape; empty where nobody knows."""

    def stated(self, path: FilePath, content: Any, hub: Mapping[str, Any] | None) -> Stated:
        """What the file says of the network beside its tensors."""


def below_roots(
    entries: Iterable[CheckpointEntry], flat: Mapping[Path, bool]
) -> tuple[dict[Path, list[CheckpointEntry]], list[CheckpointEntry]]:
    """Sort the tensors of a file by the network that they stand with.

    Args:
        entries: all tensors.
        flat: by the root of each network, whether its names are those of a flat state dict: a
            mapping beside them belongs to something else then.

    Returns:
        The tensors below each root, each with the longest that fits, and those below none.
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


def some(names: list[str]) -> str:
    """Up to three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
