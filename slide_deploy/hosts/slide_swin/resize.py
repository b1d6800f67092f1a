"""Adapt a trained Slide-Swin to another image size.

Slide stages take feature maps of any size, and so do windows that keep their size. Two parts have
no exact adaptation: a window that is the whole map grows with it, and an absolute embedding has one
entry per patch. For these the user chooses between windows as trained (``keep_windows``) and
interpolated tables (``resize_position_tables``).

A window of side w has a table of (2w - 1)^2 offsets for each head. Tables and embeddings are
interpolated like images, bicubic, as is usual when a model is fine-tuned at another size. The
result computes another function than the trained model.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.errors import InputError
from slide_deploy.hosts.resize import resize_table
from slide_deploy.models.slide_swin import SlideSwinConfig

# Largest window size that messages suggest. Attention over larger windows is no longer local.
LARGEST_ADVICE = 64


def resized_settings(path: Path, trained: SlideSwinConfig, overrides: Overrides) -> SlideSwinConfig:
    """Return the settings of a trained model with the user's changes.

    Raises:
        InputError: if the windows do not tile the feature maps, or if the changes have no exact
            adaptation and the user did not choose an inexact one.
    """
    if overrides.keep_windows and overrides.window_size is not None:
        raise InputError("--keep-windows keeps every window as trained: leave out --window-size.")
    size = overrides.image_size or trained.image_size
    changed = size != trained.image_size or overrides.resize_position_tables
    if not changed and overrides.window_size not in (None, trained.window_size):
        raise InputError(  # in other files the option completes the settings
            f"{path} was folded with window size {trained.window_size}, not "
            f"{overrides.window_size}: leave out --window-size."
        )
    if size == trained.image_size and overrides.window_size in (None, trained.window_size):
        return trained
    before = _windows(trained)
    if overrides.keep_windows:
        _refuse_untiled(path, trained, size)
        target = _replaced(path, trained, size, trained.window_size, before)
    else:
        limit = overrides.window_size or trained.window_size
        after = [min(limit, *_map(trained, stage, size)) for stage in _stages(trained)]
        if tuple(after) == before:
            _refuse_untiled(path, trained, size)
        elif not overrides.resize_position_tables:
            raise InputError(_choice(path, trained, size, after))
        target = _replaced(path, trained, size, limit, ())
    if target.ape and size != trained.image_size and not overrides.resize_position_tables:
        raise InputError(_choice(path, trained, size, list(_windows(target))))
    return target


def resized_tensors(
    tensors: Mapping[str, Tensor], trained: SlideSwinConfig, target: SlideSwinConfig
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return tensors for the new settings, and the names of the interpolated ones."""
    result, resized = dict(tensors), []
    for stage in _stages(trained):
        if trained.window(stage) == target.window(stage):
            continue
        for block in range(trained.depths[stage]):
            name = f"layers.{stage}.blocks.{block}.attn.relative_position_bias_table"
            result[name] = resize_window_table(tensors[name], target.window(stage))
            resized.append(name)
    old, new = trained.resolution(0), target.resolution(0)
    if trained.ape and old != new:
        name = "absolute_pos_embed"
        result[name] = resize_table(tensors[name], old, new, "bicubic")
        resized.append(name)
    return result, tuple(resized)


def resize_window_table(table: Tensor, window: int) -> Tensor:
    """Interpolate a table of offsets: ((2w - 1)^2, heads) to ((2 * window - 1)^2, heads)."""
    old, new = math.isqrt(table.shape[0]), 2 * window - 1
    return resize_table(table[None], (old, old), (new, new), "bicubic")[0]


def changes(trained: SlideSwinConfig, config: SlideSwinConfig) -> tuple[str, ...]:
    """Return remarks on how the windows differ from training."""
    if not config.kept_windows:
        return ()
    windows = _list(config.kept_windows)
    return (f"feature maps are tiled with the windows of training, {windows} positions wide",)


def _stages(config: SlideSwinConfig) -> range:
    """Return the stages with window attention."""
    return range(config.num_slide_stages, len(config.depths))


def _windows(config: SlideSwinConfig) -> tuple[int, ...]:
    return tuple(config.window(stage) for stage in _stages(config))


def _map(config: SlideSwinConfig, stage: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a stage's feature map at an image size, in positions."""
    step = config.patch_size * 2**stage
    return size[0] // step, size[1] // step


def _replaced(
    path: Path,
    trained: SlideSwinConfig,
    size: tuple[int, int],
    window_size: int,
    kept: tuple[int, ...],
) -> SlideSwinConfig:
    try:
        return replace(trained, image_size=size, window_size=window_size, kept_windows=kept)
    except InputError as error:
        # The reason may end in advice already, after a colon.
        reason, _, way = str(error).removesuffix(".").partition(": give ")
        window = None if kept else _smaller_window(trained, size)
        ways = [*([way] if way else []), *([f"--window-size {window}"] if window else [])]
        explained = ": " in reason
        if not ways and not explained:
            ways = ["a smaller --image-size"]
        advice = f"{';' if explained else ':'} give {', or '.join(ways)}" if ways else ""
        raise InputError(f"{path}: {reason}{advice}.") from error


def _smaller_window(trained: SlideSwinConfig, size: tuple[int, int]) -> int | None:
    """Return the largest window size that fits an image; None if none does."""
    shorter = [min(_map(trained, stage, size)) for stage in _stages(trained)]
    for window in range(min(max(shorter, default=0), LARGEST_ADVICE), 1, -1):
        with suppress(InputError):
            replace(trained, image_size=size, window_size=window, kept_windows=())
            return window
    return None


def _step(trained: SlideSwinConfig) -> int:
    """Return the step of image sides: the trained windows tile multiples of it in every stage."""
    merged = trained.patch_size * 2 ** (len(trained.depths) - 1)
    tiles = (trained.patch_size * 2**stage * trained.window(stage) for stage in _stages(trained))
    return math.lcm(merged, *tiles)


def _refuse_untiled(path: Path, trained: SlideSwinConfig, size: tuple[int, int]) -> None:
    """Refuse an image size at which the trained windows do not tile every feature map."""
    step = _step(trained)
    if all(side and side % step == 0 for side in size):
        return
    below = tuple(max(side // step, 1) * step for side in size)
    above = tuple(max(math.ceil(side / step), 1) * step for side in size)
    nearest = " and ".join(dict.fromkeys((_by(below), _by(above))))
    windows = _list(_windows(trained))
    what = f"windows of {windows} positions tile" if windows else "merging patches needs"
    raise InputError(
        f"{path}: {what} images whose sides are multiples of {step}: the nearest to {_by(size)} "
        f"are {nearest}."
    )


def _choice(path: Path, trained: SlideSwinConfig, size: tuple[int, int], after: list[int]) -> str:
    """Return a sentence with the reason why no adaptation is exact, and the user's choices."""
    before = _windows(trained)
    reasons = []
    ways = ["--resize-position-tables to interpolate them, which changes the function"]
    if tuple(after) != before:
        changes = ", ".join(
            f"stage {stage} from {old} to {new}"
            for stage, old, new in zip(_stages(trained), before, after, strict=True)
            if old != new
        )
        reasons.append(f"its windows change ({changes}), for which it has no position tables")
        step = _step(trained)
        tiled = all(side % step == 0 for side in size)
        where = "" if tiled else f" (images whose sides are multiples of {step})"
        ways.append(f"--keep-windows to tile its feature maps with the windows of training{where}")
    if trained.ape and size != trained.image_size:
        patches = _by(trained.resolution(0))
        reasons.append(f"its position embedding has entries for {patches} patches only")
    return (
        f"{path} was trained on {_by(trained.image_size)} images: at {_by(size)} "
        f"{' and '.join(reasons)}; give {', or '.join(ways)}."
    )


def _list(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, dict.fromkeys(numbers)))


def _by(size: tuple[int, ...]) -> str:
    return "x".join(map(str, size))
