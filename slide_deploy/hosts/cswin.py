"""The host record of CSWin, plain and with slide attention."""

import re
from collections.abc import Mapping
from typing import Any

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.errors import InputError
from slide_deploy.hosts import staged
from slide_deploy.hosts.host import Architecture, Host, published_but_for
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.hosts.shapes import BlockShapes, Stages
from slide_deploy.models.cswin import Cswin, CswinConfig

_FAMILY = "CSWin"
_BLOCK = r"stage(\d)\.(\d{1,9})\."
# Published stripe widths of the first two stages, at any image size.
_NARROW = (1, 2)
# Published stripe width of the third stage. A backbone keeps it at any image size.
_PUBLISHED_STRIPE = 7


def _stages(stored: StoredWeights) -> Stages:
    return Stages(stored, _FAMILY, _BLOCK, first=1)


def _from_shapes(stored: StoredWeights) -> Mapping[str, Any]:
    stages = _stages(stored)
    shapes = stages.shapes
    embed_dim = shapes["stage1_conv_embed.0.weight"][0]
    return {
        **staged.common_settings(stages),
        "in_channels": shapes["stage1_conv_embed.0.weight"][1],
        "embed_dim": embed_dim,
        # Hidden widths are rounded down, so the largest ratio is the closest.
        "mlp_ratio": max(rows / (embed_dim * 2**stage) for stage, rows in enumerate(stages.hidden)),
        "whole_map": tuple(_whole_map(stages, stage) for stage in range(len(stages))),
        "feature_norms": stages.feature_norms(first=1),
    }


def _whole_map(stages: Stages, stage: int) -> bool:
    """Whether a stage attends to the whole map, with one branch.

    If all of its blocks use slide attention, shapes do not show it. The published networks attend
    to the whole map in the last stage.
    """
    hosts: list[BlockShapes] = [block for block in stages[stage] if not block.slide_kernel]
    if not hosts:
        return stage == len(stages) - 1
    return "attns.1.get_v.weight" not in hosts[0]


def _remaining(stored: StoredWeights, overrides: Overrides) -> Mapping[str, Any]:
    stages, embed_dim = _stages(stored), _from_shapes(stored)["embed_dim"]
    dims = [embed_dim * 2**stage for stage in range(len(stages))]
    return {
        "num_heads": staged.infer_heads(stages, dims, overrides, _PUBLISHED),
        "stripes": _stripes(stored, stages, overrides),
    }


def _stripes(stored: StoredWeights, stages: Stages, overrides: Overrides) -> tuple[int, ...]:
    """Return the stripe width of each stage, which no tensor's shape depends on."""
    count, given = len(stages), overrides.stripes
    if given is None:
        widest = _PUBLISHED_STRIPE
        if "head.weight" in stages.shapes:
            (height, width), _ = staged.image_size(stored, overrides)
            widest = max(1, min(height, width) // 32)
        return (*_NARROW, *[widest] * count)[:count]
    if len(given) == count - 1:  # the last stage attends to the whole map
        return (*given, *given[-1:])
    if len(given) != count:
        raise InputError(
            f"{stored.path} has {count} stages but --stripes gives {len(given)} widths: give one "
            f"for each stage but the last, which attends to the whole map."
        )
    return given


_settings = staged.infer_by(CswinConfig, _from_shapes, _remaining)


def _infer(stored: StoredWeights, overrides: Overrides) -> tuple[CswinConfig, tuple[str, ...]]:
    """Infer the settings; see ``Host.infer``. A remark names the assumed stripe widths."""
    config, remarks = _settings(stored, overrides)
    striped = [stage for stage in range(len(config.depths)) if config.striped(stage)]
    if overrides.stripes is not None or not striped:
        return config, remarks
    widths = ", ".join(f"{config.stripes[stage]} in stage {stage + 1}" for stage in striped)
    remark = (
        f"the file does not state the stripe widths: {widths} are assumed, for images of "
        f"{config.image_size[0]}x{config.image_size[1]}; change them with --stripes"
    )
    return config, (*remarks, remark)


_TINY = CswinConfig()
_SMALL = CswinConfig(depths=(2, 4, 32, 2))
_BASE = CswinConfig(depths=(2, 4, 32, 2), embed_dim=96, num_heads=(4, 8, 16, 32))
_LARGE = CswinConfig(depths=(2, 4, 32, 2), embed_dim=144, num_heads=(6, 12, 24, 24))
_PUBLISHED = (
    Architecture("cswin_tiny", _TINY, 22_320_552, 4.32, "23M", 4.3),
    Architecture("cswin_small", _SMALL, 34_643_304, 6.80, "35M", 6.9),
    Architecture("cswin_base", _BASE, 77_382_184, 14.96, "78M", 15.0),
    Architecture("cswin_large", _LARGE, 173_262_664, 33.1, "173M", 31.5),
    Architecture("slide_cswin_tiny", staged.slide(_TINY), 22_334_722, 4.35),
    Architecture("slide_cswin_small", staged.slide(_SMALL), 34_671_644, 6.85, "35M", 6.9),
    Architecture("slide_cswin_base", staged.slide(_BASE), 77_398_864, 15.03, "78M", 15.0),
)

CSWIN = Host(
    name="cswin",
    finder=NamedNetworks(
        family=_FAMILY,
        first_layer="stage1_conv_embed.0",
        names=re.compile(
            r"(?:stage1_conv_embed\.[02]|merge\d\.(?:conv|norm)|norm\d?|head"
            r"|stage\d\.\d{1,9}\.(?:norm1|norm2|mlp\.fc1|mlp\.fc2|qkv|proj|attns\.\d\.get_v"
            r"|attn\.(?:qkv|proj|dep_conv1?|key_conv|value_conv)))\.(?:weight|bias)"
            r"|stage\d\.\d{1,9}\.attn\.relative_position_bias_table"
        ),
        vocabulary=staged.vocabulary("CswinConfig", "cswin", "slide_cswin"),
    ),
    settings=CswinConfig,
    infer=_infer,
    fits=staged.fits_by(_from_shapes),
    build=Cswin,
    summary=staged.summary,
    published=_PUBLISHED,
    published_as=published_but_for("stripes", "feature_norms"),
    plain=staged.plain,
    options=("heads", "stripes"),
)
