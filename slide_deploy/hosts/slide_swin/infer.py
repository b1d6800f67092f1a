"""Infer the settings of a Slide-Swin from the names and shapes of its tensors.

Shapes determine nearly all settings. They take precedence over a stored configuration, which a
fine-tuned checkpoint may have kept from another model. Two settings are harder to infer:

- If every window is the whole feature map, the tables determine the image size, and any larger
  window size gives the same network.
- If windows are smaller than the feature map, the image size follows from stored masks or from the
  configuration.
"""

import math
import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from slide_deploy.checkpoint.overrides import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.errors import InputError
from slide_deploy.hosts.staged import differences
from slide_deploy.models.slide_swin import SlideSwinConfig

PUBLISHED_WINDOW = 56

Shapes = Mapping[str, tuple[int, ...]]


class _Stage:
    """Names and shapes of one stage."""

    def __init__(self, shapes: Shapes, index: int) -> None:
        self.index = index
        prefix = f"layers.{index}.blocks."
        self.blocks = 1 + max(_indices(shapes, rf"layers\.{index}\.blocks\.(\d+)\."), default=-1)
        self._shapes = {
            name.removeprefix(prefix): shape
            for name, shape in shapes.items()
            if name.startswith(prefix)
        }

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one of the stage's tensors; () if it has no such tensor."""
        return self._shapes.get(name, ())

    @property
    def folded(self) -> bool:
        """Whether the stage has folded slide attention."""
        return bool(self.shape("0.attn.key_conv.weight"))

    @property
    def slides(self) -> bool:
        """Whether the stage has slide attention, folded or branched."""
        return self.folded or bool(self.shape("0.attn.dep_conv.weight"))

    @property
    def window(self) -> int:
        """Side w of the windows, from a bias table of (2w - 1)^2 rows."""
        rows = self.shape("0.attn.relative_position_bias_table")[0]
        return (math.isqrt(rows) + 1) // 2

    @property
    def masked_map(self) -> int | None:
        """Side of the feature map, from the buffers of a shifted block; None without buffers."""
        for block in range(1, self.blocks, 2):
            if not self.shape(f"{block}.attn.relative_position_index"):
                continue  # derived buffers were not stored
            mask = self.shape(f"{block}.attn_mask")
            return self.window * (math.isqrt(mask[0]) if mask else 1)
        return None


def infer_config(
    stored: StoredWeights,
    image_size: tuple[int, int] | None = None,
    window_size: int | None = None,
) -> tuple[SlideSwinConfig, tuple[str, ...]]:
    """Infer the settings with which the Slide-Swin in a checkpoint was trained.

    Args:
        stored: the checkpoint's tensors and stated settings.
        image_size: height and width in pixels, used if the file does not determine them.
        window_size: the largest window, used if the file does not determine it.

    Returns:
        The settings, and remarks on contradictions in the file.

    Raises:
        InputError: if it is not a Slide-Swin, if a setting cannot be inferred, or if the file and
            ``window_size`` disagree.
    """
    path = stored.path
    shapes, stages, settings = _read_shapes(stored)
    config = stored.stated.settings
    remarks = (*stored.stated.remarks, *_differences(settings, config))
    size = _image_size(path, shapes, stages, settings["patch_size"], config, image_size)
    window = _window_size(path, stages, settings["patch_size"], size, config, window_size)
    scale = config.get("qk_scale")
    if scale is not None:
        remarks = (*remarks, f"queries are scaled by {scale}, as stated in the file")
    try:
        found = SlideSwinConfig(image_size=size, window_size=window, qk_scale=scale, **settings)
        return found, remarks
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def trained_config(
    stored: StoredWeights, overrides: Overrides
) -> tuple[SlideSwinConfig, tuple[str, ...]]:
    """Infer the settings of training, with the user's options for what the file does not state.

    Raises:
        InputError: see ``infer_config``.
    """
    trained, remarks = infer_config(stored, overrides.image_size)
    changed = overrides.image_size not in (None, trained.image_size)
    if overrides.window_size is None or changed or overrides.resize_position_tables:
        return trained, remarks
    # Nothing is to be resized, so the option completes the file or contradicts it.
    return infer_config(stored, overrides.image_size, overrides.window_size)


def settings_fit(stored: StoredWeights, config: SlideSwinConfig) -> bool:
    """Whether settings that a folded file states agree with its tensors' shapes.

    The heads of slide attention, its bias table and its branches are not compared, because folding
    removes the tensors that determine them.

    Raises:
        InputError: if the tensors are not those of a Slide-Swin.
    """
    _, _, settings = _read_shapes(stored)
    unknown = {"num_heads", "rpb", "share_dwc_kernel"}
    return all(
        getattr(config, name) == value for name, value in settings.items() if name not in unknown
    )


def _read_shapes(stored: StoredWeights) -> tuple[Shapes, list[_Stage], dict[str, Any]]:
    """Return shapes by name, shapes by stage, and the settings that follow from them."""
    path = stored.path
    shapes = {name: tuple(tensor.shape) for name, tensor in stored.tensors.items()}
    patch = shapes.get("patch_embed.proj.weight", ())
    count = 1 + max(_indices(shapes, r"layers\.(\d+)\.blocks\.\d+\.attn\."), default=-1)
    if len(patch) != 4 or not count or "0.attn.qkv.weight" not in _Stage(shapes, 0)._shapes:
        some = ", ".join(sorted(shapes)[:3])
        raise InputError(
            f"{path} is not a Slide-Swin: it has {some} but not patch_embed.proj and "
            f"layers.I.blocks.J.attn.qkv; list the known networks with slide-deploy models."
        )
    _refuse_gaps(path, shapes, count)
    stages = [_Stage(shapes, index) for index in range(count)]
    return shapes, stages, _from_shapes(shapes, stages, patch)


def _refuse_gaps(path: Path, shapes: Shapes, stages: int) -> None:
    """Refuse stages or blocks that are not numbered consecutively.

    This also refuses a name such as ``blocks.999999999``, which would mean as many blocks.
    """
    present = _indices(shapes, r"layers\.(\d+)\.blocks\.\d+\.attn\.")
    if len(present) != stages:
        raise InputError(
            f"{path} has only stages {sorted(present)}: it is not a complete Slide-Swin."
        )
    for stage in range(stages):
        blocks = _indices(shapes, rf"layers\.{stage}\.blocks\.(\d+)\.")
        if len(blocks) != max(blocks) + 1:
            raise InputError(
                f"{path} lacks blocks of stage {stage}: it is not a complete Slide-Swin."
            )


def _from_shapes(shapes: Shapes, stages: list[_Stage], patch: tuple[int, ...]) -> dict[str, Any]:
    embed_dim = patch[0]
    slide_stages = sum(stage.slides for stage in stages)
    settings: dict[str, Any] = {
        "embed_dim": embed_dim,
        "in_channels": patch[1],
        "patch_size": patch[2],
        "num_classes": shapes.get("head.weight", (0,))[0],
        "depths": tuple(stage.blocks for stage in stages),
        "num_slide_stages": slide_stages,
        "mlp_ratio": _mlp_ratio(stages, embed_dim),
        "qkv_bias": bool(stages[0].shape("0.attn.qkv.bias")),
        "ape": "absolute_pos_embed" in shapes,
        "patch_norm": "patch_embed.norm.weight" in shapes,
        "feature_norms": _feature_norms(shapes, len(stages)),
    }
    if slide_stages:
        settings |= _slide_settings(stages[0], embed_dim)
    settings["num_heads"] = tuple(
        _heads(stage, embed_dim * 2**stage.index, settings) for stage in stages
    )
    return settings


def _feature_norms(shapes: Shapes, stages: int) -> tuple[int, ...]:
    """Return the stages whose feature map is normalised; none in a classifier."""
    if "head.weight" in shapes:
        return ()
    return tuple(stage for stage in range(stages) if f"norm{stage}.weight" in shapes)


def _mlp_ratio(stages: list[_Stage], embed_dim: int) -> float:
    """Return the ratio r such that each stage has floor(r * width) hidden features."""
    return max(
        stage.shape("0.mlp.fc1.weight")[0] / (embed_dim * 2**stage.index) for stage in stages
    )


def _slide_settings(stage: _Stage, dim: int) -> dict[str, Any]:
    inner = stage.shape("0.attn.proj.weight")[1]
    kernel = stage.shape("0.attn.key_conv.weight") or stage.shape("0.attn.dep_conv.weight")
    return {
        "kernel_size": kernel[3],
        "dim_reduction": dim // inner,
        "share_qkv": stage.shape("0.attn.qkv.weight")[0] == inner,
        "share_dwc_kernel": not stage.shape("0.attn.dep_conv2.weight"),
        "rpb": bool(stage.shape("0.attn.relative_position_bias_table")),
    }


def _heads(stage: _Stage, dim: int, settings: Mapping[str, Any]) -> int:
    table = stage.shape("0.attn.relative_position_bias_table")
    if table:
        return table[1]
    if stage.folded:
        return 0  # folded kernels do not depend on the number of heads
    outputs = stage.shape("0.attn.dep_conv.weight")[0]
    head_dim = outputs // settings["kernel_size"] ** 2
    return dim // settings["dim_reduction"] // head_dim


def _differences(settings: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    ratio = config.get("mlp_ratio", settings["mlp_ratio"])
    # Hidden widths are rounded down, so shapes determine the ratio only approximately.
    rounded = abs(ratio - settings["mlp_ratio"]) * settings["embed_dim"] < 1
    return differences({**settings, "mlp_ratio": ratio} if rounded else settings, config)


def _image_size(
    path: Path,
    shapes: Shapes,
    stages: list[_Stage],
    patch_size: int,
    config: Mapping[str, Any],
    option: tuple[int, int] | None,
) -> tuple[int, int]:
    side = _image_side(shapes, stages, patch_size)
    stated = _pair(config.get("image_size"))
    # Tables determine the shorter side. The other one comes from the configuration or the user,
    # else the image is assumed to be square.
    if side is None or (stated is not None and min(stated) == side):
        known = stated
    elif option is not None and min(option) == side:
        known = option
    else:
        known = (side, side)
    size = option if known is None else known
    if size is None:
        raise InputError(
            f"{path} does not state the image size: give it with --image-size, for example "
            f"--image-size 224."
        )
    return size


def _image_side(shapes: Shapes, stages: list[_Stage], patch_size: int) -> int | None:
    """Return the shorter side of the image in pixels, from tables or masks; None without them.

    A position embedding determines the number of patches, and so the side of a square image.
    """
    embedding = shapes.get("absolute_pos_embed", ())
    if len(embedding) == 3 and math.isqrt(embedding[1]) ** 2 == embedding[1]:
        return math.isqrt(embedding[1]) * patch_size
    windows = [stage for stage in stages if not stage.slides]
    for before, stage in pairwise(windows):
        if stage.window < before.window:  # below the window size, so the window is the whole map
            return stage.window * patch_size * 2**stage.index
    for stage in windows:
        if stage.masked_map is not None:
            return stage.masked_map * patch_size * 2**stage.index
    return None


def _window_size(
    path: Path,
    stages: list[_Stage],
    patch_size: int,
    image_size: tuple[int, int],
    config: Mapping[str, Any],
    option: int | None,
) -> int:
    windows = [stage for stage in stages if not stage.slides]
    stated = config.get("window_size")
    if not windows:
        return option or stated or PUBLISHED_WINDOW
    first = windows[0]
    side = min(image_size) // (patch_size * 2**first.index)

    def fits(size: int) -> bool:
        """Whether a window size gives the window that fits the first table."""
        return min(size, side) == first.window

    if option is not None and not fits(option):
        raise InputError(
            f"{path} was trained with windows of {first.window} in stage {first.index} but "
            f"--window-size gives {option}: leave out --window-size."
        )
    if stated is not None and option is not None and fits(stated) and option != stated:
        raise InputError(
            f"{path} was trained with window size {stated} but --window-size gives {option}: leave "
            f"out --window-size."
        )
    for size in (option, stated):
        if size is not None and fits(size):
            return size
    # If the first window is the whole map, which is the largest, the others are too. Any larger
    # window size then gives the same network, and the published one is reported.
    return PUBLISHED_WINDOW if fits(PUBLISHED_WINDOW) else first.window


def _pair(size: Any) -> tuple[int, int] | None:
    match size:
        case int():
            return size, size
        case [int() as height, int() as width]:
            return height, width
    return None


def _indices(shapes: Iterable[str], pattern: str) -> set[int]:
    found = (re.match(pattern, name) for name in shapes)
    return {int(match[1]) for match in found if match}
