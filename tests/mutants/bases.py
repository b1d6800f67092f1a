"""The valid files to be damaged: golden checkpoints, exported once for all test processes."""

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from exporters.base import ExportRequest, Traces, exporter_for
from exporters.outcome import ExportResult
from slide_deploy.deployable.record import Deployable
from slide_deploy.deployable.trained import deployable_checkpoint
from slide_deploy.folding.model import reparameterize
from slide_deploy.graph_checks.readers import read_graph
from slide_deploy.hosts import Checkpoint
from slide_deploy.lowerings import Lowering, lower
from slide_deploy.models.slide_swin import SlideSwin
from slide_deploy.passes.running import run_passes
from slide_deploy.program.editing import duplicate
from tests.support import FORMATS, copied, exported, exported_path, golden_swin, image_request

# What the damage knows its way around in.
LOWERING = Lowering("depthwise")

Rebuild = Callable[[nn.Module, SlideSwin], nn.Module]
"""From a copy of the lowered model and the trained model to a damaged network."""


@dataclass(eq=False)
class Base:
    """The valid files of one checkpoint.

    Attributes:
        checkpoint: what the files must agree with.
        open_batch: whether any number of images may be given to them.
    """

    checkpoint: Checkpoint
    open_batch: bool = False

    @functools.cached_property
    def lowered(self) -> nn.Module:
        """The model with its attentions lowered."""
        return lowered(self.checkpoint.model)

    @functools.cached_property
    def trained(self) -> Deployable:
        """The classifier with which every file, damaged or not, is compared."""
        return deployable_checkpoint(self.checkpoint)

    @functools.cached_property
    def _trace(self) -> ExportedProgram:
        shape = (self.checkpoint.config.in_channels, *self.checkpoint.config.image_size)
        return image_request(self.lowered, shape, self.open_batch).program

    def weights(self, format: str, model: nn.Module) -> dict[str, Tensor]:
        """The numbers in a file of a lowered model with other weights, by name."""
        program = duplicate(self._trace)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            for held in (program.state_dict, program.constants):
                if f"module.{name}" in held:
                    held[f"module.{name}"] = tensor
        written, _ = run_passes(program, exporter_for(format).passes())
        held = {**written.state_dict, **written.constants}
        return {name: each.detach() for name, each in held.items() if isinstance(each, Tensor)}

    def path(self, format: str) -> Path:
        """The valid file."""
        return exported_path(self._exported if format in FORMATS else self._alone(format), format)

    @functools.cached_property
    def _exported(self) -> ExportResult:
        return exported(self.checkpoint, dynamic_batch=self.open_batch, lowering=LOWERING)

    def _alone(self, format: str) -> ExportResult:
        """The file of a format that is written separately, because its converter is slow."""
        return exported(self.checkpoint, lowering=LOWERING, formats=(format,))

    def copy(self, format: str, folder: Path) -> Path:
        """A copy of the valid file, with everything that belongs to it."""
        return copied(self.path(format), folder)

    def export(self, rebuild: Rebuild, format: str, folder: Path) -> Path:
        """Write a damaged network with the declarations of the valid file."""
        folder.mkdir(parents=True, exist_ok=True)
        exporter = exporter_for(format)
        path = folder / self.path(format).name
        exporter.write(self._request(rebuild, format), path)
        return path

    def _request(self, rebuild: Rebuild, format: str) -> ExportRequest:
        model, config = _rebuilt(self, rebuild), self.checkpoint.config
        shape = (config.in_channels, *config.image_size)
        metadata = read_graph(self.path(format)).metadata
        declared = {key: text for key, text in metadata.items() if key.startswith("slide_deploy.")}
        # A network is traced once for all formats.
        traces = _traces(model, shape, self.open_batch)
        return ExportRequest(traces, declared, passes=exporter_for(format).passes())


@functools.cache
def valid_weights(base: Base, format: str) -> dict[str, Tensor]:
    """The numbers in the valid file, by name."""
    return base.weights(format, base.lowered)


def lowered(trained: nn.Module) -> nn.Module:
    """A trained model, folded and lowered."""
    folded, _ = reparameterize(trained)
    return lower(folded, LOWERING)


@functools.lru_cache(maxsize=1)
def _rebuilt(base: Base, rebuild: Rebuild) -> nn.Module:
    with torch.no_grad():
        return rebuild(copy.deepcopy(base.lowered), copy.deepcopy(base.checkpoint.model)).eval()


@functools.lru_cache(maxsize=1)
def _traces(model: nn.Module, shape: tuple[int, int, int], open_batch: bool) -> Traces:
    return image_request(model, shape, open_batch).traces


def base(open_batch: bool = False) -> Base:
    """The valid files.

    Those of one image have shifted windows; those with an open batch have one window.
    """
    return _base(open_batch)  # base() and base(False) are one


@functools.cache
def _base(open_batch: bool) -> Base:
    name = "slide_swin_nano" if open_batch else "slide_swin_nano_shifted"
    return Base(golden_swin(name).load(), open_batch)
