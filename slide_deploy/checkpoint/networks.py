"""The networks that a file holds, wherever they are in it.

A network is found by its own names, not by the key that it stands under: what comes before
``patch_embed.proj.weight`` is its root, and every tensor below that root belongs to it or is a
stranger there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from slide_deploy.checkpoint.entries import Entry, Path
from slide_deploy.checkpoint.slide_swin_names import (
    network_name,
    renamed,
    root_of,
    with_classifier,
)
from slide_deploy.checkpoint.stored_tensor import StoredTensor


@dataclass(frozen=True)
class Network:
    """A network in a file.

    Args:
        root: the keys and prefixes that lead to it.
        tensors: by the architecture's names.
        strangers: what stands below its root and is not part of it, by name below the root.
        doubled: the architecture's names that the file has twice below this root.
    """

    root: Path
    tensors: dict[str, StoredTensor]
    strangers: dict[str, Entry]
    doubled: tuple[str, ...]

    @property
    def label(self) -> str:
        """The root as users read and write it; empty where the names of the network come first."""
        return ".".join(self.root)

    @property
    def in_words(self) -> str:
        """The root for a sentence."""
        return self.label or "the file's own names"


def networks_of(entries: Sequence[Entry]) -> tuple[list[Network], list[Entry]]:
    """Find every network of a file.

    Args:
        entries: all tensors of the file.

    Returns:
        The networks in the file's order, and the tensors that belong to none.
    """
    # In a flat state dict a mapping beside the network's names belongs to something else.
    flat: dict[Path, bool] = {}
    for entry in entries:
        root = root_of(entry.path)
        if root is not None:
            flat.setdefault(root, entry.depth <= len(root))
    longest_first = sorted(flat, key=len, reverse=True)
    below: dict[Path, list[Entry]] = {root: [] for root in flat}
    outside: list[Entry] = []
    for entry in entries:
        for root in longest_first:
            if len(entry.path) > len(root) and entry.path[: len(root)] == root:
                apart = flat[root] and entry.depth > len(root)
                (outside if apart else below[root]).append(entry)
                break
        else:
            outside.append(entry)
    found = []
    for root in flat:
        network, outside = _with_classifier(_network(root, below[root]), outside)
        found.append(network)
    return found, outside


def _network(root: Path, entries: Sequence[Entry]) -> Network:
    tensors: dict[str, StoredTensor] = {}
    doubled: list[str] = []
    strangers: dict[str, Entry] = {}
    for entry in entries:
        relative = entry.path[len(root) :]
        name = network_name(relative)
        if name is None:
            strangers[".".join(relative)] = entry
            continue
        if name in tensors:
            doubled.append(name)
        tensors[name] = entry.tensor
    return Network(root, renamed(tensors), strangers, tuple(doubled))


def _with_classifier(network: Network, outside: list[Entry]) -> tuple[Network, list[Entry]]:
    parent = network.root[:-1]
    if not network.root:
        return network, outside
    near = {
        ".".join(entry.path[len(parent) :]): entry
        for entry in outside
        if entry.path[: len(parent)] == parent
    }
    tensors, taken = with_classifier(
        network.tensors, {name: entry.tensor for name, entry in near.items()}
    )
    used = {id(near[name]) for name in taken}
    left = [entry for entry in outside if id(entry) not in used]
    return replace(network, tensors=tensors), left
