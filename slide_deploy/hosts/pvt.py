"""The host record of PVT, plain and with slide attention."""

import math
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.errors import InputError
from slide_deploy.hosts import staged
from slide_deploy.hosts.host import Architecture, Host
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.hosts.pyramid import (
    BLOCK_NAMES,
    PATCH_NAMES,
    pyramid_settings,
    pyramid_stages,
    stage_widths,
)
from slide_deploy.hosts.resize import resize_table
from slide_deploy.models.pvt import Pvt, PvtConfig

_FAMILY = "PVT"


def _from_shapes(stored: StoredWeights) -> Mapping[str, Any]:
    return pyramid_settings(pyramid_stages(stored, _FAMILY))


def _remaining(stored: StoredWeights, overrides: Overrides) -> Mapping[str, Any]:
    stages = pyramid_stages(stored, _FAMILY)
    return {"num_heads": staged.infer_heads(stages, stage_widths(stages), overrides, _PUBLISHED)}


def _size(stored: StoredWeights, overrides: Overrides) -> tuple[int, int]:
    """Find the image size that the position tables fit: as stated, a square, or the user's.

    Raises:
        InputError: if none of these has as many 4x4 patches as the first table has entries.
    """
    positions = stored.tensors["pos_embed1"].shape[1]
    side = 4 * math.isqrt(positions)
    for size in (staged.stated_size(stored), (side, side), overrides.image_size):
        if size is not None and (size[0] // 4) * (size[1] // 4) == positions:
            return size
    raise InputError(
        f"{stored.path} has a position table of {positions} entries, which is not a square grid: "
        f"give the training image size with --image-size, for example --image-size 384x192."
    )


def _resize_tensors(
    tensors: Mapping[str, Tensor], trained: PvtConfig, target: PvtConfig
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Resize the position tables as the original code does: bilinear, without the class token."""
    result, resized = dict(tensors), []
    for stage in range(len(trained.depths)):
        name = f"pos_embed{stage + 1}"
        old, new = trained.resolution(stage), target.resolution(stage)
        if old != new:
            prefix = trained.positions(stage) - old[0] * old[1]
            result[name] = resize_table(tensors[name], old, new, "bilinear", prefix)
            resized.append(name)
    return result, tuple(resized)


_TINY = PvtConfig(depths=(2, 2, 2, 2))
_SMALL = PvtConfig(depths=(3, 4, 6, 3))
_MEDIUM = PvtConfig(depths=(3, 4, 18, 3))
_LARGE = PvtConfig(depths=(3, 8, 27, 3))
_PUBLISHED = (
    Architecture("pvt_tiny", _TINY, 13_229_288, 1.93, "13.2M", 1.9),
    Architecture("pvt_small", _SMALL, 24_485_864, 3.82, "24.5M", 3.8),
    Architecture("pvt_medium", _MEDIUM, 44_208_104, 6.66, "44.2M", 6.7),
    Architecture("pvt_large", _LARGE, 61_369_320, 9.81, "61.4M", 9.8),
    Architecture("slide_pvt_tiny", staged.slide(_TINY), 12_225_694, 2.03, "12.2M", 2.0),
    Architecture("slide_pvt_small", staged.slide(_SMALL), 22_729_483, 3.98, "22.7M", 4.0),
    Architecture("slide_pvt_medium", staged.slide(_MEDIUM), 42_451_723, 6.82),
    Architecture("slide_pvt_large", staged.slide(_LARGE), 58_608_979, 10.06),
)

PVT = Host(
    name="pvt",
    finder=NamedNetworks(
        family=_FAMILY,
        first_layer="patch_embed1.proj",
        names=re.compile(
            rf"{PATCH_NAMES}|{BLOCK_NAMES}|pos_embed\d|cls_token|(?:norm|head)\.(?:weight|bias)"
        ),
        vocabulary=staged.vocabulary("PvtConfig", "pvt", "slide_pvt"),
    ),
    settings=PvtConfig,
    infer=staged.infer_by(PvtConfig, _from_shapes, _remaining, _size),
    fits=staged.fits_by(_from_shapes),
    build=Pvt,
    summary=staged.summary,
    published=_PUBLISHED,
    classifier_only=("cls_token", "norm.weight", "norm.bias"),
    resize_tensors=_resize_tensors,
    plain=staged.plain,
    resizes="the original code does the same for images of another size than in training",
    options=("heads",),
)
