"""A network's matrix products and nothing else: what is left when all else costs nothing.

Each projection of the network multiplies an input of the size that it has there by weights of its
own, and so do the two products of window attention, by an input of their own. Inputs come from
outside and results go out, and no two products have both sides in common, so that no runtime can
leave a product away. Normalisation, activations, softmax, slide attention's neighbours and all
movement of data are gone.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from slide_deploy.models.window_attention import WindowAttention

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Product:
    """One matrix product.

    Attributes:
        left: shape of what comes in; the batch of one image first.
        right: shape of the weights, or of the other input.
        learned: whether the right side is a weight.
    """

    left: Shape
    right: Shape
    learned: bool


class MatrixProducts(nn.Module):
    """The products of a network.

    Args:
        products: in the order of the network.

    Attributes:
        shapes: of the inputs: what stands on the left, each shape once; then what stands on the
            right of every product that has no weights.
    """

    def __init__(self, products: tuple[Product, ...]) -> None:
        super().__init__()
        self.products = products
        self._lefts = tuple(dict.fromkeys(each.left for each in products))
        rights = (each.right for each in products if not each.learned)
        self.shapes = (*self._lefts, *rights)
        self.weights = nn.ParameterList(
            nn.Parameter(torch.randn(each.right) * each.right[0] ** -0.5)
            for each in products
            if each.learned
        )

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Multiply: one input for each of ``shapes``, one result for each product."""
        count = len(self._lefts)
        given = dict(zip(self._lefts, inputs[:count], strict=True))
        rights, weights = iter(inputs[count:]), iter(self.weights)
        return tuple(
            given[each.left] @ next(weights if each.learned else rights) for each in self.products
        )


def products_of(model: nn.Module, image: Tensor) -> tuple[Product, ...]:
    """What a network multiplies for an image (batch, channels, height, width)."""
    found: list[Product] = []

    def linear(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.Linear)
        rows = inputs[0].numel() // module.in_features
        found.append(
            Product((1, rows, module.in_features), (module.in_features, module.out_features), True)
        )

    def patches(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        # Patches do not overlap: the convolution is a product of (positions, pixels of a patch).
        assert isinstance(module, nn.Conv2d)
        pixels = module.weight[0].numel()
        rows = inputs[0].numel() // pixels
        found.append(Product((1, rows, pixels), (pixels, module.out_channels), True))

    def window(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, WindowAttention)
        windows, positions, dim = inputs[0].shape
        heads, width = module.num_heads, dim // module.num_heads
        queries = (1, windows * heads, positions, width)
        scores = (1, windows * heads, positions, positions)
        found.append(Product(queries, (1, windows * heads, width, positions), False))
        found.append(Product(scores, queries, False))

    hooks = []
    for module in model.modules():
        if isinstance(module, nn.Linear):
            hooks.append(module.register_forward_pre_hook(linear))
        elif isinstance(module, WindowAttention):
            hooks.append(module.register_forward_pre_hook(window))
        elif isinstance(module, nn.Conv2d) and module.groups == 1:
            hooks.append(module.register_forward_pre_hook(patches))
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found)
