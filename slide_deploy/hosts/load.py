"""Load a checkpoint file as a model in evaluation mode."""

import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.networks import some
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.checkpoint.stored_tensor import as_float32, refuse_not_finite
from slide_deploy.errors import InputError
from slide_deploy.files.model_files import checkpoint_stem
from slide_deploy.hosts.find import find_network
from slide_deploy.hosts.host import OPTIONS, Host, Settings
from slide_deploy.hosts.registry import architecture_name, host_of
from slide_deploy.models.host_network import HostNetwork

# Errors that settings of a wrong type or size can cause.
_BAD_SETTINGS = (AttributeError, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True)
class Checkpoint:
    """A loaded model and its provenance.

    Attributes:
        model: the model in evaluation mode, float32, on the CPU.
        config: its settings.
        architecture: the published name of these settings, or the family's name.
        path: the file.
        sha256: SHA-256 of the file.
        entry: keys and prefixes that lead to the weights; empty for a bare state dict.
        remarks: how the weights were chosen, contradictions in the file and how they were resolved,
            and differences from training.
        trained_size: height and width of the training images, in pixels.
        resized: names of the interpolated position tables; empty if the model is exactly the
            trained one.
        left_out: names of all tensors in the file that are not part of the model.
        normalisation: mean and standard deviation of the training images; None if the file does
            not state them.
    """

    model: HostNetwork
    config: Any
    architecture: str
    path: Path
    sha256: str
    entry: str
    remarks: tuple[str, ...]
    trained_size: tuple[int, int] | None = None
    resized: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    normalisation: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def stem(self) -> str:
        """Name of the files written from this checkpoint, without suffix."""
        return checkpoint_stem(self.path)

    @property
    def host(self) -> Host:
        """The family of the model."""
        return host_of(self.config)

    def classifier(self) -> HostNetwork:
        """Return the model, which outputs logits.

        Raises:
            InputError: if the model is a backbone without a classifier, or if it does not classify
                images of this size.
        """
        if self.model.is_classifier:
            try:
                self.model.refuse_classifying()
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from error
            return self.model
        raise InputError(
            f"{self.path} is a backbone without a classifier: export its feature maps with "
            f"export --features."
        )


def load_checkpoint(path: Path | str, overrides: Overrides | None = None) -> Checkpoint:
    """Load a trained or a folded network of one of the host families.

    Args:
        path: a ``.pth``, ``.pt`` or ``.safetensors`` file.
        overrides: settings that the file does not state or that the user changes.

    Raises:
        InputError: if the file cannot be used.
    """
    overrides = overrides or Overrides()
    host, stored = find_network(Path(path), overrides)
    _refuse_options(stored.path, host, overrides)
    if stored.settings is None:
        trained, remarks = _inferred(host, stored, overrides)
    else:
        trained, remarks = _stored_config(host, stored, overrides), ()
    remarks = (*stored.remarks, *remarks)
    config = host.resize(stored.path, trained, overrides)
    folded = any(name.endswith(".attn.key_conv.weight") for name in stored.tensors)
    features = not any(name.startswith("head.") for name in stored.tensors)
    with torch.device("meta"):
        model = host.build(trained, folded, features)
    unused = [name for name in host.classifier_only if features and name in stored.tensors]
    if unused:
        modules = ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in unused))
        remarks = (*remarks, f"left out: {modules}, which the feature maps do not depend on")
    tensors = {
        name: as_float32(f"{stored.path}: {name}", tensor)
        for name, tensor in stored.tensors.items()
        if not host.finder.derived(name) and name not in unused
    }
    _check(stored.path, host, tensors, model.state_dict())
    resized = stored.resized
    if config is not trained:
        tensors, names = host.resize_tensors(tensors, trained, config)
        resized = tuple(dict.fromkeys((*resized, *names)))
        with torch.device("meta"):
            model = host.build(config, folded, features)
    model.load_state_dict(tensors, assign=True)
    model.eval().requires_grad_(False)
    return Checkpoint(
        model=model,
        config=config,
        architecture=architecture_name(config),
        path=stored.path,
        sha256=stored.sha256,
        entry=stored.entry,
        remarks=(*remarks, *_changes(host, trained, config, resized)),
        trained_size=trained.image_size,
        resized=resized,
        left_out=(*stored.left_out, *unused),
        normalisation=stored.stated.normalisation,
    )


def settings_of(config: Any) -> dict[str, Any]:
    """Return settings as plain data, for a manifest or a folded checkpoint."""
    return asdict(config)


def _changes(
    host: Host, trained: Settings, config: Settings, resized: tuple[str, ...]
) -> Iterator[str]:
    """Yield remarks on the differences from training."""
    if config.image_size != trained.image_size:
        height, width = trained.image_size
        yield f"trained on {height}x{width} images"
    yield from host.changes(trained, config)
    if resized:
        yield f"{len(resized)} position tables were interpolated: {host.resizes}"


def _inferred(
    host: Host, stored: StoredWeights, overrides: Overrides
) -> tuple[Any, tuple[str, ...]]:
    try:
        return host.infer(stored, overrides)
    except (LookupError, ArithmeticError) as error:
        raise InputError(
            f"{stored.path} has tensors of unexpected rank or lacks some of a {host.title}: "
            f"compare it with the trained model."
        ) from error


def _refuse_options(path: Path, host: Host, overrides: Overrides) -> None:
    for name, option in OPTIONS.items():
        if name not in host.options and getattr(overrides, name) not in (None, False):
            raise InputError(
                f"{path} holds a {host.title}, which {option} does not apply to: leave out "
                f"{option}."
            )


def _options(host: Host) -> str:
    """Return the options that may cause wrong shapes, as the beginning of a list in a sentence."""
    names = [OPTIONS[name] for name in ("window_size", "heads") if name in host.options]
    return " and ".join(("--image-size", *names)) + ", or "


def _stored_config(host: Host, stored: StoredWeights, overrides: Overrides) -> Any:
    assert stored.settings is not None
    try:
        settings = {name: _frozen(value) for name, value in stored.settings.items()}
        counts = _counts(host.settings)
        if any(name in counts and _is_fraction(value) for name, value in settings.items()):
            raise ValueError
        config = host.settings(**settings)
        fits = host.fits(stored, config)
    except (*_BAD_SETTINGS, InputError) as error:
        raise InputError(f"{stored.path} has settings that do not fit: fold it again.") from error
    if not fits:
        raise InputError(f"{stored.path} has settings of another model: fold it again.")
    if overrides.heads not in (None, config.num_heads):
        raise InputError(
            f"{stored.path} is a folded file with other heads than --heads gives: leave out "
            f"--heads."
        )
    stripes = getattr(config, "stripes", ())
    if overrides.stripes not in (None, stripes, stripes[:-1]):  # the last may be left out
        raise InputError(
            f"{stored.path} is a folded file with other stripes than --stripes gives: leave out "
            f"--stripes."
        )
    return config


def _frozen(value: Any) -> Any:
    """Replace lists by tuples in a JSON value."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _counts(settings: type) -> set[str]:
    """Return the names of settings whose type allows no fractions."""
    hints = typing.get_type_hints(settings)
    return {name for name, kind in hints.items() if "float" not in str(kind)}


def _is_fraction(value: Any) -> bool:
    """Whether a count contains a float. JSON's 4.0 equals 4, but torch refuses it as a size."""
    if isinstance(value, tuple):
        return any(map(_is_fraction, value))
    return isinstance(value, float)


def _check(
    path: Path, host: Host, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise InputError(
            f"{path} lacks {some(missing)}: it is not a complete {host.title} checkpoint."
        )
    extra = [name for name in tensors if name not in expected]
    if extra:
        raise InputError(
            f"{path} holds {some(extra)}, which {host.finder.title} does not have: if it is a "
            f"variant of the model, name the function that builds it with --model."
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{path}: {name} has the shape {tuple(tensor.shape)} but these settings require "
                f"{tuple(expected[name].shape)}: check {_options(host)}the file."
            )
        refuse_not_finite(f"{path}: {name}", tensor)
