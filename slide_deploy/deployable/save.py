"""Folded weights to a safetensors file, which is read back as a checkpoint is."""

from pathlib import Path

from torch import nn

from slide_deploy import __version__
from slide_deploy.checkpoint.safetensors_file import read_safetensors
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.writing import draft_of

# Metadata entry of every file of folded weights.
_SOURCE_KEY = "slide_deploy.source_sha256"


def require_suffix(path: Path) -> None:
    """Refuse a path that does not say that it holds safetensors.

    Raises:
        InputError: if it ends in anything else.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} must end in .safetensors: folded weights are stored in that format."
        )


def save_folded(folded: nn.Module, source: Deployable, path: Path) -> None:
    """Write a folded model with the hash of what it came from, and settings where it has some.

    Args:
        folded: what ``reparameterize`` gave for ``source.model``.
        source: the trained network.
        path: ends in ``.safetensors``; replaced if it exists.

    Raises:
        InputError: if the path has another ending or cannot be written to.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_model

    require_suffix(path)
    metadata = {
        **source.origin.settings,
        _SOURCE_KEY: source.origin.sha256,
        "slide_deploy.version": __version__,
    }
    try:
        with draft_of(path) as draft:
            save_model(folded, str(draft), metadata)  # which allows weights that are shared
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be written ({reason}): check --output.") from error


def holds_folded(path: Path) -> bool:
    """Whether a file is one that ``save_folded`` wrote.

    Raises:
        InputError: if it ends in .safetensors and is damaged.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    return _SOURCE_KEY in read_safetensors(path)[1]
