"""A subgraph that may be a slide attention, as a module."""

import torch
from torch import Tensor

from slide_deploy.foreign.calls import CutLayer
from slide_deploy.onnx_network.module import OnnxModule

# Largest relative change that counts as the rounding of float32.
_UNMOVED = 1e-5


class CutAttention(OnnxModule, CutLayer):
    """A subgraph that may be a slide attention. It runs at any batch size.

    Attributes:
        batch: batch size of the graph; None if the subgraph takes any.
        scale: factor on the logits, as far as single numbers show it.
    """

    batch: int | None = None
    scale: float = 1.0

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # it has one input
        """Run the subgraph; input and output have the same shape."""
        if self.batch is None or x.shape[0] == self.batch:
            (found,) = self.run({self.inputs[0]: x})
            return found
        # The graph fixes its batch, and samples do not depend on each other.
        rows = [each.expand(self.batch, *each.shape[1:]) for each in x.split(1)]
        return torch.cat([self.run({self.inputs[0]: each})[0][:1] for each in rows])


@torch.no_grad()
def is_local(module: CutAttention, radius: int) -> bool:
    """Whether the first position influences no position farther away than a radius.

    Padding may wrap around, so that positions at the other border are near.
    """
    height, width = module.call.bound or (0, 0)
    generator = torch.Generator().manual_seed(0)
    nchw = torch.randn(1, module.channels, height, width, generator=generator)
    moved = nchw.clone()
    moved[..., 0, 0] += 1
    before, after = (module.call.run(module, each) for each in (nchw, moved))
    apart = (after - before).abs()
    rows, columns = (
        torch.tensor([place % size for place in range(-radius, radius + 1)])
        for size in (height, width)
    )
    apart[..., rows[:, None], columns] = 0
    return bool(apart.max() <= _UNMOVED * before.abs().max())
