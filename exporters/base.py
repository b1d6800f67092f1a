"""What an exporter gets and gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from exporters.quiet import quiet
from slide_deploy import interruption
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import Format
from slide_deploy.runtimes.base import message_lines
from slide_deploy.traits import Traits

INPUT_NAME = "image"
BATCH_NAME = "batch"
# Bounds of a dynamic batch: runtimes that plan memory ahead want to know them.
MAX_BATCH = 1024


@dataclass(frozen=True)
class ExportRequest:
    """One model to be written.

    Args:
        model: lowered, in evaluation mode, float32.
        image_shape: channels, height and width.
        dynamic_batch: whether the batch is left open; it is 1 otherwise.
        metadata: entries to store in the file, by key.
        precision: "float32", "float16" or "mixed".
        outputs: what the model's answers are called, in their order.
    """

    model: nn.Module
    image_shape: tuple[int, int, int]
    dynamic_batch: bool
    metadata: Mapping[str, str]
    precision: str = "float32"
    outputs: tuple[str, ...] = ("logits",)

    @cached_property
    def single(self) -> torch.export.ExportedProgram:
        """The model traced for one image; traced once for all formats."""
        return torch.export.export(self.model, (torch.zeros(1, *self.image_shape),))

    @cached_property
    def open(self) -> torch.export.ExportedProgram:
        """The model traced with a symbolic batch; traced once for all formats."""
        # Not with one image: that would make the batch the constant 1.
        example = torch.zeros(2, *self.image_shape)
        batch = torch.export.Dim(BATCH_NAME, min=1, max=MAX_BATCH)
        return torch.export.export(self.model, (example,), dynamic_shapes={INPUT_NAME: {0: batch}})

    @property
    def program(self) -> torch.export.ExportedProgram:
        """The one of the two that ``dynamic_batch`` asks for."""
        return self.open if self.dynamic_batch else self.single


@dataclass(frozen=True)
class Exporter:
    """Writes the files of one format.

    Attributes:
        record: what is known of the format.
    """

    record: Format

    @property
    def format(self) -> str:
        """The format, as the user names it."""
        return self.record.name

    @property
    def suffix(self) -> str:
        """Of the file that other programs open."""
        return self.record.suffix

    @property
    def traits(self) -> Traits:
        """How the rest of a network is written in this format."""
        return self.record.traits

    def paths(self, stem: Path) -> tuple[Path, ...]:
        """Every file or folder that is written for a stem, the one that others open first."""
        suffixes = (self.record.suffix, *self.record.companions)
        return tuple(stem.with_name(stem.name + suffix) for suffix in suffixes)

    def require(self, precision: str = "float32") -> None:
        """Check that this format can be written here.

        Raises:
            MissingExtra: if a library that writing needs is not installed.
            InputError: if the format is not written in that precision.
        """
        if precision not in self.record.precisions:
            known = " or ".join(self.record.precisions)
            raise InputError(
                f"{self.format} is not written in {precision}: choose {known} as --precision."
            )
        for package in self.record.packages:
            if find_spec(package) is None:
                raise MissingExtra(package, self.record.extra)

    def write(self, request: ExportRequest, path: Path) -> None:
        """Write a file and what belongs to it.

        Args:
            request: what to write.
            path: where to; ends in the format's suffix, its folder exists.

        Raises:
            MissingExtra: if a library is not installed.
            InputError: if the format's converter refuses the model.
        """
        self.require()
        module = import_module(self.record.exporter)
        write: Callable[[ExportRequest, Path], None] = module.write
        try:
            with interruption.unswallowed(), quiet():
                write(request, path)
        except (InputError, OSError):
            raise
        except Exception as error:  # converters answer with any type
            lines = message_lines(error)
            # A line that ends in a colon announces one that says more, as OpenVINO's first ones do.
            reason = next((line for line in lines if not line.endswith(":")), lines[0])
            raise InputError(
                f"{path.name} could not be written as {self.format} ({reason}): see slide-deploy "
                f"doctor for the versions that are installed."
            ) from error
