"""The host record of PVTv2, plain and with slide attention, with its authors' or timm's names."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.entries import Path
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.hosts import staged
from slide_deploy.hosts.host import Architecture, Host
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.hosts.pyramid import (
    BLOCK_NAMES,
    PATCH_NAMES,
    published_ratio,
    pyramid_settings,
    pyramid_stages,
    stage_widths,
)
from slide_deploy.hosts.shapes import Stages
from slide_deploy.models.pvt_v2 import PvtV2, PvtV2Config

_FAMILY = "PVTv2"

# timm's name of the patch embedding is common to many networks, but only PVTv2 has this tensor.
# With features_only, timm writes stages_0 for stages.0.
_TIMM_MARKER = re.compile(r"stages[._]0\.blocks\.0\.mlp\.dwconv\.weight")
_TIMM_STAGE = re.compile(r"stages[._](\d)\.(downsample|blocks|norm)\.(.+)")
_AUTHORS_PREFIX = {"downsample": "patch_embed{}.", "blocks": "block{}.", "norm": "norm{}."}


class PvtV2Networks(NamedNetworks):
    """Finds PVTv2 networks by the authors' names and by timm's."""

    def root_of(self, path: Path) -> Path | None:
        """See ``NamedNetworks``. timm's networks are found by another tensor."""
        for parts in (6, 7):
            if _TIMM_MARKER.fullmatch(".".join(path[-parts:])):
                return path[:-parts]
        return super().root_of(path)

    def name_of(self, relative: Path) -> str | None:
        """See ``NamedNetworks``."""
        return super().name_of(tuple(_authors_name(".".join(relative)).split(".")))


def _authors_name(name: str) -> str:
    """Translate timm's name of a tensor to the authors'. Any other name is returned unchanged.

    timm keeps everything of a stage in one module, its patch embedding included. Only the first
    patch embedding is a module of its own.
    """
    if name.startswith("patch_embed."):
        return name.replace("patch_embed.", "patch_embed1.", 1)
    found = _TIMM_STAGE.fullmatch(name)
    if not found:
        return name
    stage, kind, rest = int(found[1]) + 1, found[2], found[3]
    return _AUTHORS_PREFIX[kind].format(stage) + rest.replace(
        "mlp.dwconv.", "mlp.dwconv.dwconv.", 1
    )


def _is_linear(stages: Stages) -> bool | None:
    """Whether a network is the linear version; None if every block uses slide attention."""
    reductions = [
        block["attn.sr.weight"] for stage in stages for block in stage if not block.slide_kernel
    ]
    return any(each[2:] == (1, 1) for each in reductions) if reductions else None


def _from_shapes(stored: StoredWeights) -> Mapping[str, Any]:
    stages = pyramid_stages(stored, _FAMILY)
    settings = pyramid_settings(stages)
    linear = _is_linear(stages)
    if linear:
        del settings["sr_ratios"]  # the linear version does not use them
    return settings if linear is None else {**settings, "li": linear}


def _remaining(stored: StoredWeights, overrides: Overrides) -> Mapping[str, Any]:
    stages = pyramid_stages(stored, _FAMILY)
    heads = staged.infer_heads(stages, stage_widths(stages), overrides, _PUBLISHED)
    if _is_linear(stages):
        ratios = tuple(map(published_ratio, range(len(stages))))
        return {"num_heads": heads, "sr_ratios": ratios}
    return {"num_heads": heads}


def _infer(stored: StoredWeights, overrides: Overrides) -> tuple[PvtV2Config, tuple[str, ...]]:
    config, remarks = staged.infer_by(PvtV2Config, _from_shapes, _remaining)(stored, overrides)
    if _is_linear(pyramid_stages(stored, _FAMILY)) is None:
        remarks = (
            *remarks,
            "every block uses slide attention, so the file does not tell whether its MLPs have the "
            "ReLU of the linear version (li): no ReLU is assumed",
        )
    return config, remarks


_B0 = PvtV2Config(depths=(2, 2, 2, 2), embed_dims=(32, 64, 160, 256))
_B1 = PvtV2Config(depths=(2, 2, 2, 2))
_B2 = PvtV2Config(depths=(3, 4, 6, 3))
_B2_LI = replace(_B2, li=True)
_B3 = PvtV2Config(depths=(3, 4, 18, 3))
_B4 = PvtV2Config(depths=(3, 8, 27, 3))
_B5 = PvtV2Config(depths=(3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4))
_PUBLISHED = (
    Architecture("pvt_v2_b0", _B0, 3_666_760, 0.57, "3.7M", 0.6),
    Architecture("pvt_v2_b1", _B1, 14_009_000, 2.11, "14.0M", 2.1),
    Architecture("pvt_v2_b2", _B2, 25_362_856, 4.03, "25.4M", 4.0),
    Architecture("pvt_v2_b2_li", _B2_LI, 22_553_512, 3.89, "22.6M", 3.9),
    Architecture("pvt_v2_b3", _B3, 45_238_696, 6.90, "45.2M", 6.9),
    Architecture("pvt_v2_b4", _B4, 62_556_072, 10.10, "62.6M", 10.1),
    Architecture("pvt_v2_b5", _B5, 81_956_008, 11.72, "82.0M", 11.8),
    Architecture("slide_pvt_v2_b0", staged.slide(_B0), 3_427_134, 0.60),
    Architecture("slide_pvt_v2_b1", staged.slide(_B1), 13_005_406, 2.21, "13.0M", 2.2),
    Architecture("slide_pvt_v2_b2", staged.slide(_B2), 23_606_475, 4.19, "22.8M", 4.2),
    Architecture("slide_pvt_v2_b3", staged.slide(_B3), 43_482_315, 7.06),
    Architecture("slide_pvt_v2_b4", staged.slide(_B4), 59_795_731, 10.34),
)

PVT_V2 = Host(
    name="pvt_v2",
    finder=PvtV2Networks(
        family=_FAMILY,
        first_layer="patch_embed1.proj",
        names=re.compile(
            rf"{PATCH_NAMES}|{BLOCK_NAMES}"
            r"|block\d\.\d{1,9}\.mlp\.dwconv\.dwconv\.(?:weight|bias)"
            r"|(?:norm\d|head)\.(?:weight|bias)"
        ),
        vocabulary=staged.vocabulary("PvtV2Config", "pvt_v2", "slide_pvt_v2"),
    ),
    settings=PvtV2Config,
    infer=_infer,
    fits=staged.fits_by(_from_shapes),
    build=PvtV2,
    summary=staged.summary,
    published=_PUBLISHED,
    classifier_only=(),
    plain=staged.plain,
    options=("heads",),
)
