"""A small network whose file has a bit of everything, exported once."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from exporters.outcome import ExportOptions, ExportResult
from exporters.pipeline import export
from tests.shared import once
from tests.support import image_network

SHAPE = (3, 8, 8)


class Small(nn.Module):
    """Convolutions of three kinds, a normalisation, attention over another axis than the last."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, 2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.norm = nn.LayerNorm(6)
        self.qk, self.head = nn.Linear(6, 12), nn.Linear(6, 4)

    def forward(self, image: Tensor) -> Tensor:
        maps = functional.relu(self.depthwise(self.patches(image)))
        tokens = self.norm(self.up(maps).flatten(2).transpose(1, 2))
        q, k = self.qk(tokens).split([6, 6], dim=-1)
        weights = (k @ q.transpose(1, 2)).softmax(dim=1).transpose(1, 2)
        out: Tensor = self.head((weights @ tokens).mean(1))
        return out


def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


def written(open_batch: bool = False, delegate: str = "xnnpack") -> ExportResult:
    """The network for ExecuTorch, proved where something here can run it."""

    def write(folder: Path) -> ExportResult:
        options = ExportOptions(
            ("executorch",),
            folder,
            delegate=delegate,
            unproven=delegate != "xnnpack",
            precision="float16" if delegate == "coreml" else "float32",
        )
        return export(image_network(small(), SHAPE, open_batch), options)

    return once(("pte", open_batch, delegate), write)
