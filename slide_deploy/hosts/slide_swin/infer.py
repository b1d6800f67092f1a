"""Infer the settings of a Slide-Swin from the names and shapes of its tensors.

Shapes determine nearly all settings. They take precedence over a stored configuration, which a
fine-tuned checkpoint may have kept from another model. Two settings are harder to infer:

- If every window is the whole feature map, the tables determine the image size, and any larger
  window size gives the same network.
- If windows are smaller than the feature map, the image size follows from stored masks or from the
  configuration.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.errors import InputError
from slide_deploy.hosts.shapes import BlockShapes, Stages
from slide_deploy.hosts.staged import differences, stated_size
from slide_deploy.models.slide_swin import SlideSwinConfig

PUBLISHED_WINDOW = 56


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
    stages, settings = _read_shapes(stored)
    config = stored.stated.settings
    remarks = (*stored.stated.remarks, *_differences(settings, config))
    size = _image_size(stored, stages, settings["patch_size"], image_size)
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
    _, settings = _read_shapes(stored)
    unknown = {"num_heads", "rpb", "share_dwc_kernel"}
    return all(
        getattr(config, name) == value for name, value in settings.items() if name not in unknown
    )


def _read_shapes(stored: StoredWeights) -> tuple[Stages, dict[str, Any]]:
    """Return the shapes by stage and block, and the settings that follow from them."""
    patch = stored.tensors.get("patch_embed.proj.weight")
    rank = 0 if patch is None else len(patch.shape)
    if rank != 4 or "layers.0.blocks.0.attn.qkv.weight" not in stored.tensors:
        some = ", ".join(sorted(stored.tensors)[:3])
        raise InputError(
            f"{stored.path} is not a Slide-Swin: it has {some} but not patch_embed.proj and "
            f"layers.I.blocks.J.attn.qkv; list the known networks with slide-deploy models."
        )
    stages = Stages(stored, "Slide-Swin", r"layers\.(\d+)\.blocks\.(\d+)\.")
    return stages, _from_shapes(stages)


def _from_shapes(stages: Stages) -> dict[str, Any]:
    shapes = stages.shapes
    embed_dim, in_channels, patch_size, _ = shapes["patch_embed.proj.weight"]
    dims = [embed_dim * 2**stage for stage in range(len(stages))]
    slide_stages = sum(_slides(blocks) for blocks in stages)
    first = stages[0][0]
    settings: dict[str, Any] = {
        "embed_dim": embed_dim,
        "in_channels": in_channels,
        "patch_size": patch_size,
        "num_classes": shapes.get("head.weight", (0,))[0],
        "depths": stages.depths,
        "num_slide_stages": slide_stages,
        # Hidden widths are rounded down, so the largest ratio is the closest.
        "mlp_ratio": max(rows / dim for rows, dim in zip(stages.hidden, dims, strict=True)),
        "qkv_bias": "attn.qkv.bias" in first,
        "ape": "absolute_pos_embed" in shapes,
        "patch_norm": "patch_embed.norm.weight" in shapes,
        "feature_norms": stages.feature_norms(),
    }
    if slide_stages:
        inner = first["attn.proj.weight"][1]
        settings |= {
            "kernel_size": first.slide_kernel,
            "dim_reduction": embed_dim // inner,
            "share_qkv": first["attn.qkv.weight"][0] == inner,
            "share_dwc_kernel": "attn.dep_conv2.weight" not in first,
            "rpb": "attn.relative_position_bias_table" in first,
        }
    settings["num_heads"] = tuple(
        _heads(blocks[0], dim // settings.get("dim_reduction", 1))
        for blocks, dim in zip(stages, dims, strict=True)
    )
    return settings


def _heads(block: BlockShapes, inner: int) -> int:
    """Return a block's number of heads; 0 if unknown, as folded kernels do not depend on it."""
    table = block["attn.relative_position_bias_table"]
    if table:
        return table[1]
    return inner // block.head_dim if block.head_dim else 0


def _slides(blocks: Sequence[BlockShapes]) -> bool:
    """Whether a stage has slide attention, folded or branched."""
    return blocks[0].slide_kernel > 0


def _window(blocks: Sequence[BlockShapes]) -> int:
    """Return the side w of a stage's windows, from a bias table of (2w - 1)^2 rows."""
    return (math.isqrt(blocks[0]["attn.relative_position_bias_table"][0]) + 1) // 2


def _masked_map(blocks: Sequence[BlockShapes]) -> int | None:
    """Return the side of a stage's feature map, from a shifted block's buffers; None without."""
    for block in blocks[1::2]:
        if "attn.relative_position_index" in block:
            mask = block["attn_mask"]
            return _window(blocks) * (math.isqrt(mask[0]) if mask else 1)
    return None


def _differences(settings: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[str, ...]:
    ratio = config.get("mlp_ratio", settings["mlp_ratio"])
    # Hidden widths are rounded down, so shapes determine the ratio only approximately.
    rounded = abs(ratio - settings["mlp_ratio"]) * settings["embed_dim"] < 1
    return differences({**settings, "mlp_ratio": ratio} if rounded else settings, config)


def _image_size(
    stored: StoredWeights, stages: Stages, patch_size: int, option: tuple[int, int] | None
) -> tuple[int, int]:
    side = _image_side(stages, patch_size)
    stated = stated_size(stored)
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
            f"{stored.path} does not state the image size: give it with --image-size, for example "
            f"--image-size 224."
        )
    return size


def _image_side(stages: Stages, patch_size: int) -> int | None:
    """Return the shorter side of the image in pixels, from tables or masks; None without them.

    A position embedding determines the number of patches, and so the side of a square image.
    """
    embedding = stages.shapes.get("absolute_pos_embed", ())
    if len(embedding) == 3 and math.isqrt(embedding[1]) ** 2 == embedding[1]:
        return math.isqrt(embedding[1]) * patch_size
    windows = [(patch_size * 2**stage, each) for stage, each in enumerate(stages)]
    windows = [(step, blocks) for step, blocks in windows if not _slides(blocks)]
    for (_, before), (step, blocks) in pairwise(windows):
        if _window(blocks) < _window(before):  # below the window size, so it is the whole map
            return _window(blocks) * step
    for step, blocks in windows:
        side = _masked_map(blocks)
        if side is not None:
            return side * step
    return None


def _window_size(
    path: Path,
    stages: Stages,
    patch_size: int,
    image_size: tuple[int, int],
    config: Mapping[str, Any],
    option: int | None,
) -> int:
    windows = [stage for stage, blocks in enumerate(stages) if not _slides(blocks)]
    stated = config.get("window_size")
    if not windows:
        return option or stated or PUBLISHED_WINDOW
    first = windows[0]
    window = _window(stages[first])
    side = min(image_size) // (patch_size * 2**first)

    def fits(size: int) -> bool:
        """Whether a window size gives the window that fits the first table."""
        return min(size, side) == window

    if option is not None and not fits(option):
        raise InputError(
            f"{path} was trained with windows of {window} in stage {first} but "
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
    return PUBLISHED_WINDOW if fits(PUBLISHED_WINDOW) else window
