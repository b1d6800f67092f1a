"""A checkpoint file to a model in evaluation mode."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slide_deploy.checkpoint.carry import carried, carried_tensors
from slide_deploy.checkpoint.infer import infer_config, settings_fit
from slide_deploy.checkpoint.networks import some
from slide_deploy.checkpoint.numbers import as_float32, refuse_not_finite
from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.checkpoint.read import StoredWeights, read_checkpoint
from slide_deploy.checkpoint.strangers import DERIVED
from slide_deploy.errors import InputError
from slide_deploy.model_files import checkpoint_stem
from slide_deploy.models.backbone import SlideSwinBackbone
from slide_deploy.models.registry import architecture_name
from slide_deploy.models.slide_swin import SlideSwin, SlideSwinConfig, SlideSwinTrunk

# What arithmetic on settings of any type and size can end in.
_ODD_VALUES = (AttributeError, ArithmeticError, LookupError, TypeError, ValueError)

# In front of a classifier only.
_LAST_NORM = ("norm.weight", "norm.bias")


@dataclass(frozen=True)
class Checkpoint:
    """A model and where it came from.

    Args:
        model: in evaluation mode, float32, on the CPU.
        config: its settings.
        architecture: the published name of these settings, else "slide_swin".
        path: the file.
        sha256: of the file.
        entry: the keys and prefixes that lead to the weights; empty for a bare state dict.
        remarks: how the weights were chosen, what the file says twice and differently, and what was
            made of it.
        trained_size: height and width of the images in training, in pixels.
        resized: names of the position tables that were interpolated; empty where the model is
            exactly the trained one.
        left_out: names of all tensors of the file that are not part of the model.
    """

    model: SlideSwinTrunk
    config: SlideSwinConfig
    architecture: str
    path: Path
    sha256: str
    entry: str
    remarks: tuple[str, ...]
    trained_size: tuple[int, int] | None = None
    resized: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """What files that are written from it are called, without their suffix."""
        return checkpoint_stem(self.path)

    def classifier(self) -> SlideSwin:
        """The model, which answers logits.

        Raises:
            InputError: if it is a detector's backbone, without a classifier.
        """
        if isinstance(self.model, SlideSwin):
            return self.model
        raise InputError(
            f"{self.path} is a backbone without a classifier: it has the maps of its stages only, "
            f"which export --features writes."
        )


def load_checkpoint(path: Path | str, overrides: Overrides | None = None) -> Checkpoint:
    """Load a trained or a folded Slide-Swin.

    Args:
        path: a ``.pth``, ``.pt`` or ``.safetensors`` file.
        overrides: what the user supplies where the file cannot tell, or wants otherwise.

    Raises:
        InputError: if the file cannot be used; the text says why and what to do.
    """
    overrides = overrides or Overrides()
    stored = read_checkpoint(Path(path), overrides.weights, overrides.entry, overrides.leave_out)
    trained, remarks = _trained_config(stored, overrides)
    remarks = (*stored.remarks, *remarks)
    config = carried(stored.path, trained, overrides)
    folded = any(name.endswith(".attn.key_conv.weight") for name in stored.tensors)
    kind = (
        SlideSwin if any(name.startswith("head.") for name in stored.tensors) else SlideSwinBackbone
    )
    with torch.device("meta"):
        model: SlideSwinTrunk = kind(trained, folded)
    last_norm = [
        name for name in _LAST_NORM if kind is SlideSwinBackbone and name in stored.tensors
    ]
    if last_norm:
        remarks = (*remarks, "left out: norm, which the maps of the stages do not pass")
    tensors = {
        name: as_float32(f"{stored.path}: {name}", tensor)
        for name, tensor in stored.tensors.items()
        if name.rpartition(".")[2] not in DERIVED and name not in last_norm
    }
    _check(stored.path, tensors, model.state_dict())
    resized = stored.resized
    if config is not trained:
        tensors, names = carried_tensors(tensors, trained, config)
        resized = tuple(dict.fromkeys((*resized, *names)))
        with torch.device("meta"):
            model = kind(config, folded)
    model.load_state_dict(tensors, assign=True)
    model.eval().requires_grad_(False)
    return Checkpoint(
        model=model,
        config=config,
        architecture=architecture_name(config),
        path=stored.path,
        sha256=stored.sha256,
        entry=stored.entry,
        remarks=(*remarks, *_changes(trained, config, resized)),
        trained_size=trained.image_size,
        resized=resized,
        left_out=(*stored.left_out, *last_norm),
    )


def settings_of(config: SlideSwinConfig) -> dict[str, Any]:
    """The settings as plain data, for a manifest or for a folded checkpoint."""
    return asdict(config)


def _trained_config(
    stored: StoredWeights, overrides: Overrides
) -> tuple[SlideSwinConfig, tuple[str, ...]]:
    """The settings of training, and remarks on them."""
    size, window = overrides.image_size, overrides.window_size
    remarks: tuple[str, ...] = ()
    if stored.settings is not None:
        trained = _stored_config(stored)
    else:
        trained, remarks = infer_config(stored, size)
    changed = size not in (None, trained.image_size) or overrides.resize_position_tables
    if window is None or changed:
        return trained, remarks
    # Nothing else is to change: the option says what the file cannot tell, or contradicts it.
    if stored.settings is None:
        return infer_config(stored, size, window)
    if window != trained.window_size:
        raise InputError(
            f"{stored.path} was folded with {trained.window_size}, not {window}: leave out "
            f"--window-size."
        )
    return trained, remarks


def _changes(
    trained: SlideSwinConfig, config: SlideSwinConfig, resized: tuple[str, ...]
) -> Iterator[str]:
    """What is not as in training, for the user to read."""
    if config.image_size != trained.image_size:
        height, width = trained.image_size
        yield f"trained on {height}x{width} images"
    if config.kept_windows:
        windows = ", ".join(map(str, dict.fromkeys(config.kept_windows)))
        yield f"maps are tiled with the windows of training, {windows} positions wide"
    if resized:
        yield (
            f"{len(resized)} position tables were interpolated: this is not the function that was "
            f"trained"
        )


def _stored_config(stored: StoredWeights) -> SlideSwinConfig:
    assert stored.settings is not None
    try:
        settings: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in stored.settings.items()
        }
        fractions = ("mlp_ratio", "qk_scale")
        if any(_is_fraction(value) for name, value in settings.items() if name not in fractions):
            raise ValueError
        config = SlideSwinConfig(**settings)
        fits = settings_fit(stored, config)
    except (*_ODD_VALUES, InputError) as error:
        raise InputError(f"{stored.path} has settings that do not fit: fold it again.") from error
    if not fits:
        raise InputError(f"{stored.path} has settings of another model: fold it again.")
    return config


def _is_fraction(value: Any) -> bool:
    """Whether a setting that counts something does not: 4.0 passes for 4 until a shape needs it."""
    return any(isinstance(item, float) for item in (value if isinstance(value, tuple) else [value]))


def _check(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise InputError(f"{path} lacks {some(missing)}: it is not a whole Slide-Swin checkpoint.")
    extra = [name for name in tensors if name not in expected]
    if extra:
        raise InputError(
            f"{path} holds {some(extra)}, which a Slide-Swin of these settings does not have: is "
            f"it a variant of the model?"
        )
    for name, tensor in tensors.items():
        if tensor.shape != expected[name].shape:
            raise InputError(
                f"{path}: {name} has the shape {tuple(tensor.shape)} and these settings need "
                f"{tuple(expected[name].shape)}: check --image-size and --window-size, or the file."
            )
        refuse_not_finite(f"{path}: {name}", tensor)
