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
from slide_deploy.lowerings.traits import PLAIN, Traits
from slide_deploy.runtimes.base import message_lines

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
    """A format that can be written.

    Args:
        format: as the user names it.
        suffix: of the file that other programs open.
        packages: libraries that writing needs, as Python imports them.
        extra: the extra of slide-deploy that brings them.
        precisions: in which it can be written.
        companions: suffixes of the files that belong to it.
        traits: how the rest of a network is written.
    """

    format: str
    suffix: str
    packages: tuple[str, ...]
    extra: str
    precisions: tuple[str, ...] = ("float32",)
    companions: tuple[str, ...] = ()
    traits: Traits = PLAIN

    def paths(self, stem: Path) -> tuple[Path, ...]:
        """Every file or folder that is written for a stem, the one that others open first."""
        return tuple(
            stem.with_name(stem.name + suffix) for suffix in (self.suffix, *self.companions)
        )

    def require(self, precision: str = "float32") -> None:
        """Check that this format can be written here.

        Raises:
            MissingExtra: if a library that writing needs is not installed.
            InputError: if the format is not written in that precision.
        """
        if precision not in self.precisions:
            known = " or ".join(self.precisions)
            raise InputError(
                f"{self.format} is not written in {precision}: choose {known} as --precision."
            )
        for package in self.packages:
            if find_spec(package) is None:
                raise MissingExtra(package, self.extra)

    def write(self, request: ExportRequest, path: Path) -> None:
        """Write a file and what belongs to it.

        Args:
            request: what to write.
            path: where to; ends in ``suffix``, its folder exists.

        Raises:
            MissingExtra: if a library is not installed.
            InputError: if the format's converter refuses the model.
        """
        self.require()
        module = import_module(f"exporters.{self.format}_exporter")
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
