"""A network that a slide attention, or none, lives in, and what exporting it must come to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from slide_deploy.deployable.module import deployable_of
from slide_deploy.deployable.record import Deployable
from tests.support import randomise

Build = Callable[[], tuple[nn.Module, Any]]


@dataclass(frozen=True)
class Host:
    """A network and the outcome of its export.

    Attributes:
        name: unique among the hosts.
        build: makes the network, ready to run, and example inputs.
        folds: how many layers are folded.
        left: names of layers that look like slide attentions and stay as they are.
        open_sizes: names of the sizes that stay open, by input and axis.
        lowering: a form that is asked for; None takes "auto".
        refused: formats that refuse the network, with a pattern that the sentence matches.
        slow: whether tests of it take long in every format.
        quick: formats in which it is exported also in the quick part of the tests.
    """

    name: str
    build: Build
    folds: int = 1
    left: tuple[str, ...] = ()
    open_sizes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    lowering: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)
    slow: bool = False
    quick: tuple[str, ...] = ("onnx",)

    def deployable(self) -> Deployable:
        """The network as the export takes it."""
        model, inputs = self.build()
        return deployable_of(model, inputs, name=self.name, open_sizes=self.open_sizes)


def drawn(model: nn.Module, seed: int = 0) -> Any:
    """Draw every parameter and all statistics, so that nothing is zero or one by chance."""
    randomise(model, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for held in (module.running_mean, module.running_var, module.weight, module.bias):
                if held is not None:
                    with torch.no_grad():
                        held.uniform_(0.5, 2, generator=generator)
    return model.eval()


def noise(*shape: int, seed: int = 7) -> torch.Tensor:
    """Example values that are the same each time."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
