"""A product and its bias as two operators.

ONNX Runtime makes one operator of a product and a vector that is added to it. That one first copies
the vector into every row of the result, on one thread, before it multiplies. A bias of the rank of
the tokens is left alone and added by all threads. The others put both together again, or did not
become slower. Behind a normalisation no bias need be left at all, see ``normalised``.
"""

from torch import Tensor, nn
from torch.nn import functional

from slide_deploy.lowerings.projection import constant


class BiasApart(nn.Module):
    """A projection of tokens, ready for export.

    Args:
        linear: the layer to write.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight = constant(linear.weight)
        self.bias = None if linear.bias is None else constant(linear.bias[None, None])

    def forward(self, tokens: Tensor) -> Tensor:
        """Project: (batch, positions, inputs) to (batch, positions, outputs)."""
        product = functional.linear(tokens, self.weight)
        return product if self.bias is None else product + self.bias
