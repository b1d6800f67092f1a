"""What every written file says of itself."""

import json
from collections.abc import Mapping

from torch import nn

from exporters.declarations import declarations
from exporters.manifest import library_versions
from slide_deploy.deployable.record import Deployable
from slide_deploy.lowerings import Lowering


def metadata_of(
    deployable: Deployable, folded: nn.Module, lowerings: Mapping[str, Lowering], precision: str
) -> dict[str, str]:
    """The entries of a file's metadata, by key.

    Args:
        deployable: the network.
        folded: its model before it is lowered.
        lowerings: of its slide attentions, by name.
        precision: of the file.
    """
    origin = deployable.origin
    entries = {
        "architecture": origin.architecture,
        "source_sha256": origin.sha256,
        "versions": json.dumps(library_versions()),
        **origin.metadata,
    }
    return {
        **{f"slide_deploy.{key}": value for key, value in entries.items()},
        **declarations(folded, lowerings, precision),
    }
