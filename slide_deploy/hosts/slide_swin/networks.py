"""The Slide-Swins that a file holds, whatever wraps their layers and whoever named them."""

from collections.abc import Mapping

from slide_deploy.checkpoint.entries import Path
from slide_deploy.checkpoint.stored_tensor import StoredTensor
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.hosts.slide_swin.names import (
    DERIVED,
    NAMES,
    network_name,
    renamed,
    root_of,
    with_classifier,
)
from slide_deploy.hosts.slide_swin.vocabulary import VOCABULARY


class SlideSwinNetworks(NamedNetworks):
    """See ``NamedNetworks``; ``names`` has how tensors are called here and there."""

    def root_of(self, path: Path) -> Path | None:
        """See ``NamedNetworks``."""
        return root_of(path)

    def name_of(self, relative: Path) -> str | None:
        """See ``NamedNetworks``."""
        return network_name(relative)

    def renamed(self, tensors: Mapping[str, StoredTensor]) -> dict[str, StoredTensor]:
        """See ``NamedNetworks``."""
        return renamed(tensors)

    def with_classifier(
        self, tensors: Mapping[str, StoredTensor], beside: Mapping[str, StoredTensor]
    ) -> tuple[dict[str, StoredTensor], frozenset[str]]:
        """See ``NamedNetworks``."""
        return with_classifier(tensors, beside)


NETWORKS = SlideSwinNetworks(
    family="Slide-Swin",
    first_layer="patch_embed.proj",
    names=NAMES,
    vocabulary=VOCABULARY,
    buffers=DERIVED,
)
