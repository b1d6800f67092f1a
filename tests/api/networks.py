"""A small user network with its own implementation of slide attention."""

import torch
from torch import Tensor, nn

from tests.foreign.classes import Tuple
from tests.support import randomise

IMAGE = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))


class Classifier(nn.Module):
    """One image in, one row of logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 4, 4)
        self.attn = Tuple()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(12, 5)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        x = x + self.drop(self.attn(x)[0])
        return self.head(x.mean((2, 3)))


def network() -> Classifier:
    """Return the network with random weights, in training mode as users may have it."""
    model = randomise(Classifier())
    assert isinstance(model, Classifier)
    return model.train().requires_grad_(True)


def state(model: nn.Module) -> tuple[object, ...]:
    """Return the state of a module that a function could change."""
    return (
        model.training,
        [(name, type(module)) for name, module in model.named_modules()],
        [(name, each.dtype, each.requires_grad) for name, each in model.named_parameters()],
        {name: tensor.sum().item() for name, tensor in model.state_dict().items()},
    )
