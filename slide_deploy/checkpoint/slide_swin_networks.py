"""The Slide-Swins that a file holds, found by their patch embedding."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any

from slide_deploy.checkpoint.entries import Entry, Path
from slide_deploy.checkpoint.networks import Network, below_roots, some
from slide_deploy.checkpoint.slide_swin_names import (
    DERIVED,
    FROZEN,
    inside_network,
    network_name,
    renamed,
    root_of,
    with_classifier,
)
from slide_deploy.checkpoint.stated import Stated, stated_in
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.errors import InputError


class SlideSwinNetworks:
    """How a Slide-Swin is found whose settings nobody knows before the file is read."""

    title = "a Slide-Swin of these settings"

    def networks(self, entries: Sequence[Entry]) -> tuple[list[Network], list[Entry]]:
        """See ``Sought``."""
        flat: dict[Path, bool] = {}
        for entry in entries:
            root = root_of(entry.path)
            if root is not None:
                flat.setdefault(root, entry.depth <= len(root))
        below, outside = below_roots(entries, flat)
        found = []
        for root in flat:
            network, outside = _with_classifier(_network(root, below[root]), outside)
            found.append(network)
        return found, outside

    def refuse_absent(self, path: FilePath, names: list[str]) -> None:
        """See ``Sought``."""
        if names:
            raise InputError(
                f"{path} is not a Slide-Swin: it has {some(sorted(names))} and no "
                f"patch_embed.proj; see slide-deploy models for what is known, or name what builds "
                f"your network with --model."
            )

    def refuse_incomplete(self, path: FilePath, network: Network) -> None:
        """See ``Sought``."""
        branches = [name for name in network.tensors if ".attn.dep_conv1." in name]
        if branches and not any(".attn.dep_conv." in name for name in network.tensors):
            raise InputError(
                f"{path} holds {branches[0]} and no shift branch (dep_conv), which training "
                f"freezes and an average may leave out: use a file that has it, such as the raw "
                f"weights."
            )

    def frozen(self, name: str) -> bool:
        """See ``Sought``."""
        return FROZEN.fullmatch(name) is not None

    def derived(self, name: str) -> bool:
        """See ``Sought``."""
        return DERIVED.fullmatch(name) is not None

    def channels(self, network: Network) -> tuple[int, ...]:
        """See ``Sought``."""
        return network.tensors["patch_embed.proj.weight"].shape[1:2]

    def inside(self, name: str) -> bool:
        """See ``Sought``."""
        return inside_network(name)

    def stated(self, path: FilePath, content: Any, hub: Mapping[str, Any] | None) -> Stated:
        """See ``Sought``."""
        return stated_in(path, content, hub)


SLIDE_SWIN = SlideSwinNetworks()


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
