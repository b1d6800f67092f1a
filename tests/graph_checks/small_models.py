"""Small models of random weights, and how to write them in every format."""

from pathlib import Path

import torch

from exporters.base import ExportRequest
from exporters.declarations import declarations
from exporters.registry import EXPORTERS
from slide_deploy.lowerings import DEFAULT_LOWERING, lower
from slide_deploy.models.slide_swin import SlideSwin
from slide_deploy.reparameterize import reparameterize
from tests.support import random_swin

Files = dict[str, Path]


def nano() -> SlideSwin:
    return random_swin(
        image_size=(64, 64), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), num_classes=4
    )


def export(model: SlideSwin, folder: Path, *, dynamic_batch: bool = False) -> Files:
    """Write a model in every format."""
    folded = reparameterize(model)[0]
    shape = (model.config.in_channels, *model.config.image_size)
    request = ExportRequest(lower(folded), shape, dynamic_batch, declared(folded))
    files = {exporter.format: folder / f"nano{exporter.suffix}" for exporter in EXPORTERS}
    for exporter in EXPORTERS:
        exporter.write(request, files[exporter.format])
    return files


def declared(folded: torch.nn.Module) -> dict[str, str]:
    return declarations(folded, str(DEFAULT_LOWERING))


def branched_swin(folder: Path) -> Path:
    """An ONNX file of a model whose attentions nobody folded."""
    model = nano()
    request = ExportRequest(model, (3, 64, 64), False, declared(reparameterize(model)[0]))
    path = folder / "branched.onnx"
    EXPORTERS[0].write(request, path)
    return path
