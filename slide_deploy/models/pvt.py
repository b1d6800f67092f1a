"""PVT: stages with attention to a reduced feature map, or slide attention.

State-dict names are those of the original code (Pyramid Vision Transformer, arXiv 2102.12122).
Slide stages hold slide attention under ``attn``, with the names of Slide-Swin.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.errors import InputError
from slide_deploy.models.host_network import HostNetwork
from slide_deploy.models.parts import Mlp, as_nchw
from slide_deploy.models.pyramid import (
    BLOCK_EPS,
    PyramidBlock,
    PyramidConfig,
    PyramidPatchEmbed,
    reduced_attention,
)


@dataclass(frozen=True, kw_only=True)
class PvtConfig(PyramidConfig):
    """The settings of a PVT; see ``PyramidConfig``.

    Raises:
        InputError: if the settings are inconsistent, or if the last stage has slide attention.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        last = len(self.depths) - 1
        if any(self.slide_kernel(last, block) for block in range(self.depths[last])):
            raise InputError(
                f"Stage {last} of a PVT has a class token, which is not in the feature map, so it "
                f"cannot have slide attention."
            )
        if self.sr_ratios[last] != 1:
            raise InputError(
                f"Stage {last} of a PVT has a class token, so its feature map cannot be reduced "
                f"{self.sr_ratios[last]} times: give 1 as its reduction."
            )

    def side(self, pixels: int, stage: int) -> int:
        """See ``StagedConfig``. Patches do not overlap, and remaining pixels are dropped."""
        return pixels // 2 ** (stage + 2)

    def positions(self, stage: int) -> int:
        """Number of entries in a stage's position table, including the last stage's class token."""
        height, width = self.resolution(stage)
        return height * width + (stage == len(self.depths) - 1)


def _block(config: PvtConfig, stage: int, block: int, folded: bool) -> PyramidBlock:
    attention = config.attention(stage, block, folded, lambda: reduced_attention(config, stage))
    return PyramidBlock(config.dim(stage), attention, Mlp(config.dim(stage), config.hidden(stage)))


class Pvt(HostNetwork):
    """The classifier or the backbone, which has no class token; see ``HostNetwork``."""

    def __init__(self, config: PvtConfig, folded: bool = False, features: bool = False) -> None:
        super().__init__(config, features)
        channels = config.in_channels
        for stage, depth in enumerate(config.depths):
            dim, patch = config.dim(stage), 2 if stage else 4
            blocks = nn.ModuleList(_block(config, stage, each, folded) for each in range(depth))
            table = torch.zeros(1, config.positions(stage), dim)
            self.add_module(
                f"patch_embed{stage + 1}", PyramidPatchEmbed(channels, dim, patch, patch)
            )
            self.register_parameter(f"pos_embed{stage + 1}", nn.Parameter(table))
            self.add_module(f"block{stage + 1}", blocks)
            channels = dim
        if not features:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
            self.norm = nn.LayerNorm(channels, eps=BLOCK_EPS)
            self.head = nn.Linear(channels, config.num_classes)

    def stages(self, image: Tensor) -> list[Tensor]:
        """See ``HostNetwork``. In the last stage of a classifier the class token comes first."""
        x = image
        outputs = []
        last = len(self.config.depths) - 1
        for stage in range(last + 1):
            tokens = self.get_submodule(f"patch_embed{stage + 1}")(x)
            table: Tensor = self.get_parameter(f"pos_embed{stage + 1}")
            if stage == last:
                tokens, table = self._with_class_token(tokens, table)
            tokens = tokens + table
            for block in self.get_submodule(f"block{stage + 1}").children():
                tokens = block(tokens)
            outputs.append(tokens)
            if stage < last:
                x = as_nchw(tokens, self.config.resolution(stage))
        return outputs

    def _with_class_token(self, tokens: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
        """Add the class token to tokens and position table in a classifier; drop it in a backbone.

        The class token is added to its entry in the table, and a row of zeros is put before the
        tokens. So no file has to repeat the token for every image of a batch.
        """
        first, others = table[:, :1], table[:, 1:]
        if self.features:
            return tokens, others
        table = torch.cat((self.cls_token + first, others), dim=1)
        return functional.pad(tokens, (0, 0, 1, 0)), table

    def logits(self, tokens: Tensor) -> Tensor:
        """See ``HostNetwork``. Only the class token is classified."""
        return self.head(self.norm(tokens)[:, 0])
