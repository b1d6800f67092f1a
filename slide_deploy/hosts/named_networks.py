"""Find the networks of a family in a file, by the names of their tensors."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from slide_deploy.checkpoint.entries import CheckpointEntry, Path
from slide_deploy.checkpoint.networks import StoredNetwork, below_roots, network_below
from slide_deploy.checkpoint.stated import Stated, Vocabulary, stated_in
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.errors import InputError

# The shift branch. It is frozen in training, so averages of trained weights may leave it out.
_FROZEN = re.compile(r".*\battn\.dep_conv\.(?:weight|bias)")


@dataclass(frozen=True)
class NamedNetworks:
    """A ``NetworkFinder`` that finds networks by tensor names, before their settings are known.

    A family derives from this class if other programs name its tensors differently.

    Attributes:
        family: name in sentences, such as "Slide-Swin".
        first_layer: name of the convolution on the image. The part of a path before it is the root
            of a network.
        names: matches the full name of every tensor of such a network.
        vocabulary: names of the settings in configurations stored beside the tensors.
        buffers: matches the names of buffers that the settings determine.
    """

    family: str
    first_layer: str
    names: re.Pattern[str]
    vocabulary: Vocabulary = field(default_factory=Vocabulary)
    buffers: re.Pattern[str] | None = None

    @property
    def title(self) -> str:
        """See ``NetworkFinder``."""
        return f"a {self.family} of these settings"

    def root_of(self, path: Path) -> Path | None:
        """Return the root of a network if this path is its first layer's weight, else None."""
        first = (*self.first_layer.split("."), "weight")
        return path[: -len(first)] if path[-len(first) :] == first else None

    def name_of(self, relative: Path) -> str | None:
        """Return the family's name of a tensor; None if such a network has no such tensor.

        Args:
            relative: components of its name after the network's root.
        """
        name = ".".join(relative)
        return name if self.names.fullmatch(name) else None

    def renamed(self, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        """Translate the tensor names of other programs to the family's."""
        return dict(tensors)

    def with_classifier(
        self, tensors: Mapping[str, StoredTensor], beside: Mapping[str, StoredTensor]
    ) -> tuple[dict[str, StoredTensor], frozenset[str]]:
        """Add a classifier that a framework stores beside its backbone.

        Returns:
            The tensors of the complete network, and the names of those taken from ``beside``.
        """
        return dict(tensors), frozenset()

    def networks(
        self, entries: Sequence[CheckpointEntry]
    ) -> tuple[list[StoredNetwork], list[CheckpointEntry]]:
        """See ``NetworkFinder``."""
        flat: dict[Path, bool] = {}
        for entry in entries:
            root = self.root_of(entry.path)
            if root is not None:
                flat.setdefault(root, entry.depth <= len(root))
        below, outside = below_roots(entries, flat)
        found = []
        for root in flat:
            stored = network_below(root, below[root], self.name_of)
            stored = replace(stored, tensors=self.renamed(stored.tensors))
            network, outside = self._completed(stored, outside)
            found.append(network)
        return found, outside

    def _completed(
        self, network: StoredNetwork, outside: list[CheckpointEntry]
    ) -> tuple[StoredNetwork, list[CheckpointEntry]]:
        parent = network.root[:-1]
        if not network.root:
            return network, outside
        near = {
            ".".join(entry.path[len(parent) :]): entry
            for entry in outside
            if entry.path[: len(parent)] == parent
        }
        tensors, taken = self.with_classifier(
            network.tensors, {name: entry.tensor for name, entry in near.items()}
        )
        used = {id(near[name]) for name in taken}
        left = [entry for entry in outside if id(entry) not in used]
        return replace(network, tensors=tensors), left

    def refuse_incomplete(self, path: FilePath, network: StoredNetwork) -> None:
        """See ``NetworkFinder``."""
        branches = [name for name in network.tensors if ".attn.dep_conv1." in name]
        if branches and not any(".attn.dep_conv." in name for name in network.tensors):
            raise InputError(
                f"{path} holds {branches[0]} but no shift branch (dep_conv), which is frozen in "
                f"training and may be missing from an average: use a file that has it, such as the "
                f"raw weights."
            )

    def frozen(self, name: str) -> bool:
        """See ``NetworkFinder``."""
        return _FROZEN.fullmatch(name) is not None

    def derived(self, name: str) -> bool:
        """See ``NetworkFinder``."""
        return self.buffers is not None and self.buffers.fullmatch(name) is not None

    def channels(self, network: StoredNetwork) -> tuple[int, ...]:
        """See ``NetworkFinder``."""
        first = network.tensors.get(f"{self.first_layer}.weight")
        return () if first is None else first.shape[1:2]

    def stated(self, path: FilePath, content: Any, hub: Mapping[str, Any] | None) -> Stated:
        """See ``NetworkFinder``."""
        return stated_in(path, content, self.family, self.vocabulary, hub)
