"""Save folded weights in a safetensors file, which can be loaded like a checkpoint."""

from pathlib import Path

from torch import nn

from slide_deploy import __version__
from slide_deploy.checkpoint.safetensors_file import read_safetensors
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError
from slide_deploy.files.writing import draft_of

# Metadata key of every file of folded weights.
_SOURCE_KEY = "slide_deploy.source_sha256"


def require_suffix(path: Path) -> None:
    """Refuse a path that does not end in ``.safetensors``.

    Raises:
        InputError: if it has another suffix.
    """
    if path.suffix != ".safetensors":
        raise InputError(
            f"{path} must end in .safetensors: folded weights are stored in that format."
        )


def save_folded(folded: nn.Module, source: Deployable, path: Path) -> None:
    """Write a folded model with the hash and the settings of its source.

    Args:
        folded: result of ``reparameterize`` for ``source.model``.
        source: the trained network.
        path: path that ends in ``.safetensors``. An existing file is replaced.

    Raises:
        InputError: if the path has another suffix or cannot be written to.
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
            save_model(folded, str(draft), metadata)  # unlike save_file, it supports shared weights
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path} cannot be written ({reason}): check --output.") from error


def holds_folded(path: Path) -> bool:
    """Whether ``save_folded`` wrote a file.

    Raises:
        InputError: if it is a damaged ``.safetensors`` file.
    """
    if path.suffix != ".safetensors" or not path.is_file():
        return False
    return _SOURCE_KEY in read_safetensors(path)[1]
