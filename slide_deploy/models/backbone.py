"""Slide-Swin as detectors and segmenters take it: the map of every stage in place of logits.

A map is what the blocks of a stage answer, before it is merged into the next stage.
"""

import torch
from torch import Tensor, nn

from slide_deploy.models.host_network import feature_names
from slide_deploy.models.slide_swin import (
    LAYER_NORM_EPS,
    SlideSwinConfig,
    SlideSwinTrunk,
    Stage,
)


class SlideSwinBackbone(SlideSwinTrunk):
    """The maps of all stages.

    Args:
        config: its settings. ``feature_norms`` names the stages whose map is normalised on its way
            out; the next stage gets it as it was.
        folded: build ``FoldedSlideAttention`` in place of the branched form.
    """

    def __init__(self, config: SlideSwinConfig, folded: bool = False) -> None:
        super().__init__(config, folded)
        for stage in config.feature_norms:
            norm = nn.LayerNorm(config.dim(stage), eps=LAYER_NORM_EPS)
            self.add_module(f"norm{stage}", norm)

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the maps are called, in their order."""
        return feature_names(len(self.layers))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Extract: (batch, channels, H, W) to a map (batch, C, h, w) of every stage."""
        maps = []
        tokens = self.embed(image)
        for index, stage in enumerate(self.layers):
            assert isinstance(stage, Stage)
            tokens = stage.attend(tokens)
            normed = index in self.config.feature_norms
            answer = self.get_submodule(f"norm{index}")(tokens) if normed else tokens
            if answer.dim() == 3:  # a stage may be written so that it answers a map
                shape = (-1, self.config.dim(index), *self.config.resolution(index))
                answer = answer.transpose(1, 2).reshape(shape)
            maps.append(answer)
            if stage.downsample is not None:
                tokens = stage.downsample(tokens)
        return tuple(maps)


def backbone_of(model: SlideSwinTrunk) -> SlideSwinBackbone:
    """A model without its classifier; layers are shared, not copied."""
    if isinstance(model, SlideSwinBackbone):
        return model
    with torch.device("meta"):  # every layer of it is replaced
        backbone = SlideSwinBackbone(model.config)
    backbone.patch_embed = model.patch_embed
    backbone.absolute_pos_embed = model.absolute_pos_embed
    backbone.layers = model.layers
    return backbone.train(model.training)
