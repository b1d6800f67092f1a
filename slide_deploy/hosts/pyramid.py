"""Read the names and shapes that PVT and PVTv2 have in common."""

from collections.abc import Sequence
from typing import Any

from slide_deploy.checkpoint.read import StoredWeights
from slide_deploy.hosts import staged
from slide_deploy.hosts.shapes import BlockShapes, Stages

_PUBLISHED_RATIOS = (8, 4, 2, 1)

PATCH_NAMES = r"patch_embed\d\.(?:proj|norm)\.(?:weight|bias)"
"""Matches the names of the patch embeddings' tensors."""
BLOCK_NAMES = (
    r"block\d\.\d{1,9}\.(?:norm1|norm2|mlp\.fc1|mlp\.fc2|attn\."
    r"(?:q|kv|sr|norm|qkv|proj|dep_conv1?|key_conv|value_conv))\.(?:weight|bias)"
    r"|block\d\.\d{1,9}\.attn\.relative_position_bias_table"
)
"""Matches the names of the tensors that both versions have in their blocks."""


def pyramid_stages(stored: StoredWeights, family: str) -> Stages:
    """Return the blocks of a network, stage by stage.

    Raises:
        InputError: if blocks are missing.
    """
    return Stages(stored, family, r"block(\d)\.(\d{1,9})\.", first=1)


def stage_widths(stages: Stages) -> tuple[int, ...]:
    """Return the number of channels of each stage."""
    names = [f"patch_embed{stage + 1}.proj.weight" for stage in range(len(stages))]
    return tuple(stages.shapes[name][0] for name in names)


def pyramid_settings(stages: Stages) -> dict[str, Any]:
    """Read the settings of a ``PyramidConfig`` from shapes, except the heads."""
    dims = stage_widths(stages)
    return {
        **staged.common_settings(stages),
        "in_channels": stages.shapes["patch_embed1.proj.weight"][1],
        "embed_dims": dims,
        "mlp_ratios": tuple(rows / dim for rows, dim in zip(stages.hidden, dims, strict=True)),
        "sr_ratios": tuple(_ratio(stage, blocks) for stage, blocks in enumerate(stages)),
    }


def published_ratio(stage: int) -> int:
    """Return the reduction ratio of a stage in the published networks."""
    return _PUBLISHED_RATIOS[stage] if stage < len(_PUBLISHED_RATIOS) else 1


def _ratio(stage: int, blocks: Sequence[BlockShapes]) -> int:
    """Return a stage's reduction ratio; the published one if all its blocks use slide attention."""
    for block in blocks:
        if not block.slide_kernel:
            return block["attn.sr.weight"][2] if "attn.sr.weight" in block else 1
    return published_ratio(stage)
