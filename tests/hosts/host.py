"""A network with or without slide attention, and the expected result of its export."""

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
    """A network and the expected result of its export.

    Attributes:
        name: name, unique among the hosts.
        build: builds the network, ready to run, and example inputs.
        folds: number of folded layers.
        left: names of layers that look like slide attentions and are left unchanged.
        open_sizes: names of the open sizes, by input and axis.
        lowering: form of the attention; None for "auto".
        refused: formats that refuse the network, each with a pattern of the message.
        slow: whether its tests take long in every format.
        quick: formats of the quick tests.
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
        """Return the record that the export takes."""
        model, inputs = self.build()
        return deployable_of(model, inputs, name=self.name, open_sizes=self.open_sizes)


def drawn(model: nn.Module, seed: int = 0) -> Any:
    """Randomise every parameter and all statistics, so that none is zero or one."""
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
    """Return reproducible random values."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
