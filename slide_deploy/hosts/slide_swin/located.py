"""What written files hold in the place of what layers of a Slide-Swin answer."""

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.models.slide_swin import Block, PatchEmbed, PatchMerging

WHOLE = (PatchMerging,)
"""Lowered, its inner values are arranged differently."""


def rewritten(
    layer: nn.Module, parent: nn.Module, given: Tensor, answer: Tensor
) -> tuple[Tensor, ...]:
    """What a written file may hold in the place of an answer, see ``Host``."""
    if isinstance(layer, nn.LayerNorm) and isinstance(parent, Block):
        # What is left where the projection behind it took over; see lowerings.normalised.
        plain = functional.layer_norm(given, layer.normalized_shape, eps=layer.eps)
        return plain, plain + 1
    if isinstance(parent, PatchEmbed) and parent.norm is not None and answer.dim() == 4:
        # Where its weights take the mean off; see lowerings.map_stages.
        return (answer - answer.mean(dim=1, keepdim=True),)
    return ()
