"""A folded model to a safetensors file that ``load_checkpoint`` reads back."""

import json
from pathlib import Path

from slide_deploy import __version__
from slide_deploy.checkpoint.load import Checkpoint, settings_of
from slide_deploy.checkpoint.read import CONFIG_KEY, RESIZED_KEY
from slide_deploy.errors import InputError
from slide_deploy.models.slide_swin import SlideSwinTrunk
from slide_deploy.writing import draft_of


def require_suffix(path: Path) -> None:
    """Refuse a path that does not say that it holds safetensors.

    Raises:
        InputError: if it ends in anything else.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} must end in .safetensors: folded weights are stored in that format."
        )


def save_folded(folded: SlideSwinTrunk, source: Checkpoint, path: Path) -> None:
    """Write a folded model with its settings and the hash of the checkpoint that it came from.

    Args:
        folded: what ``reparameterize`` gave for ``source.model``.
        source: the trained checkpoint.
        path: ends in ``.safetensors``; replaced if it exists.

    Raises:
        InputError: if the path has another ending or cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    require_suffix(path)
    metadata = {
        CONFIG_KEY: json.dumps(settings_of(source.config)),
        RESIZED_KEY: " ".join(source.resized),
        "slide_deploy.checkpoint_sha256": source.sha256,
        "slide_deploy.version": __version__,
    }
    try:
        with draft_of(path) as draft:
            save_file({k: v.contiguous() for k, v in folded.state_dict().items()}, draft, metadata)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be written ({reason}): check --output.") from error
