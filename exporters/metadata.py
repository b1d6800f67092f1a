"""What every written file says of where it comes from."""

import json

from exporters.manifest import library_versions
from slide_deploy.deployable.record import Deployable


def metadata_of(deployable: Deployable) -> dict[str, str]:
    """The entries of a file's metadata, by key; rules read others, see ``declarations``."""
    origin = deployable.origin
    entries = {
        "architecture": origin.architecture,
        "source_sha256": origin.sha256,
        "versions": json.dumps(library_versions()),
        **origin.metadata,
    }
    return {f"slide_deploy.{key}": value for key, value in entries.items()}
