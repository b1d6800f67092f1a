"""The host record of NAT, plain and with slide attention."""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slide_deploy.checkpoint.choice import Overrides
from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.hosts import staged
from slide_deploy.hosts.host import Architecture, Host, published_but_for
from slide_deploy.hosts.named_networks import NamedNetworks
from slide_deploy.hosts.shapes import Stages
from slide_deploy.models.nat import Nat, NatConfig

_FAMILY = "NAT"
_BLOCK = r"levels\.(\d{1,9})\.blocks\.(\d{1,9})\."
_PUBLISHED_KERNEL = 7


def _stages(stored: StoredWeights) -> Stages:
    return Stages(stored, _FAMILY, _BLOCK)


def _from_shapes(stored: StoredWeights) -> Mapping[str, Any]:
    stages = _stages(stored)
    shapes = stages.shapes
    dim = shapes["patch_embed.proj.1.weight"][0]
    tables = [table for table in stages.host_shapes("attn.rpb") if table]
    return {
        **staged.common_settings(stages),
        "in_channels": shapes["patch_embed.proj.0.weight"][1],
        "embed_dim": dim,
        "mlp_ratio": stages[0][0]["mlp.fc1.weight"][0] / dim,
        # If all stages use slide attention, no layer has the host's kernel size.
        "kernel_size": (tables[0][2] + 1) // 2 if tables else _PUBLISHED_KERNEL,
        "layer_scale": "gamma1" in stages[0][0],
        "feature_norms": stages.feature_norms(),
    }


def _remaining(stored: StoredWeights, overrides: Overrides) -> Mapping[str, Any]:
    stages, dim = _stages(stored), _from_shapes(stored)["embed_dim"]
    dims = [dim * 2**stage for stage in range(len(stages))]
    hosts = [table[0] if table else 0 for table in stages.host_shapes("attn.rpb")]
    return {"num_heads": staged.infer_heads(stages, dims, overrides, _PUBLISHED, hosts)}


_MINI = NatConfig(depths=(3, 4, 6, 5))
_TINY = NatConfig(depths=(3, 4, 18, 5))
_SMALL = replace(_TINY, embed_dim=96, num_heads=(3, 6, 12, 24), mlp_ratio=2.0, layer_scale=True)
_BASE = replace(_SMALL, embed_dim=128, num_heads=(4, 8, 16, 32))
_PUBLISHED = (
    Architecture("nat_mini", _MINI, 19_984_174, 2.70, "20M", 2.7, file_gmacs=3.02),
    Architecture("nat_tiny", _TINY, 27_901_582, 4.30, "28M", 4.3, file_gmacs=4.80),
    Architecture("nat_small", _SMALL, 50_743_297, 7.77, "51M", 7.8, file_gmacs=8.53),
    Architecture("nat_base", _BASE, 89_769_652, 13.68, "90M", 13.7, file_gmacs=14.69),
    Architecture("slide_nat_mini", staged.slide(_MINI, 1), 20_000_494, 2.74, file_gmacs=2.92),
    Architecture(
        "slide_nat_tiny", staged.slide(_TINY, 1), 27_917_902, 4.35, "28M", 4.3, file_gmacs=4.70
    ),
    Architecture(
        "slide_nat_small", staged.slide(_SMALL, 1), 50_759_137, 7.85, "51M", 7.8, file_gmacs=8.37
    ),
)


def _changes(trained: NatConfig, config: NatConfig) -> tuple[str, ...]:
    """Report feature maps that are padded because they are smaller than the neighbourhood."""
    small = [
        str(stage + 1)
        for stage in range(len(config.depths))
        if 0 in {config.slide_kernel(stage, block) for block in range(config.depths[stage])}
        and min(config.resolution(stage)) < config.kernel_size
    ]
    if not small:
        return ()
    side = config.kernel_size
    return (
        f"the feature maps of stage{'s' * (len(small) > 1)} {' and '.join(small)} are smaller than "
        f"a neighbourhood of {side}x{side}: they are padded with zeros, which are attended to, as "
        f"in the original code",
    )


NAT = Host(
    name="nat",
    finder=NamedNetworks(
        family=_FAMILY,
        first_layer="patch_embed.proj.0",
        names=re.compile(
            r"patch_embed\.(?:proj\.[01]|norm)\.(?:weight|bias)"
            r"|levels\.\d{1,9}\.blocks\.\d{1,9}\.(?:norm1|norm2|mlp\.fc1|mlp\.fc2|attn\."
            r"(?:qkv|proj|dep_conv1?|key_conv|value_conv))\.(?:weight|bias)"
            r"|levels\.\d{1,9}\.blocks\.\d{1,9}\."
            r"(?:gamma[12]|attn\.rpb|attn\.relative_position_bias_table)"
            r"|levels\.\d{1,9}\.downsample\.(?:reduction\.weight|norm\.weight|norm\.bias)"
            r"|(?:norm\d?|head)\.(?:weight|bias)"
        ),
        vocabulary=staged.vocabulary(
            "NatConfig", "nat", "slide_nat", unlike={"dinat": "dilated neighbourhoods"}
        ),
    ),
    settings=NatConfig,
    infer=staged.infer_by(NatConfig, _from_shapes, _remaining),
    fits=staged.fits_by(_from_shapes),
    build=Nat,
    summary=staged.summary,
    published=_PUBLISHED,
    published_as=published_but_for("feature_norms"),
    changes=_changes,
    plain=staged.plain,
    options=("heads",),
)
