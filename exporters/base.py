"""What an exporter gets and gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from exporters.quiet import quiet
from exporters.refusals import converter_failed, refuse_ranks
from exporters.tracing import open_dimensions, traced
from slide_deploy import interruption
from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import Format
from slide_deploy.traits import Traits


@dataclass(frozen=True)
class ExportRequest:
    """One network to be written.

    Attributes:
        deployable: the network with its interface; its model is lowered.
        metadata: entries to store in the file, by key.
        precision: "float32", "float16" or "mixed".
    """

    deployable: Deployable
    metadata: Mapping[str, str]
    precision: str = "float32"

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the file takes, in order."""
        return self.deployable.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the file's answers are called, in order."""
        return self.deployable.outputs

    @cached_property
    def single(self) -> torch.export.ExportedProgram:
        """The network traced at the sizes of its examples; traced once for all formats."""
        return traced(self.deployable, {})

    @cached_property
    def open(self) -> torch.export.ExportedProgram:
        """The network traced with symbols for its open sizes; traced once for all formats."""
        return traced(self.deployable, open_dimensions(self.deployable))

    @property
    def program(self) -> torch.export.ExportedProgram:
        """The one of the two that the inputs ask for."""
        return self.open if self.deployable.open_names else self.single


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

    def refuse(self, request: ExportRequest) -> None:
        """Refuse a network that the format cannot hold, before anything is written.

        Raises:
            InputError: if a tensor has more axes than the format allows, or the exporter knows of
                an operator that its converter lacks; the text names its layer.
        """
        if self.record.max_rank is not None:
            refuse_ranks(request.program, self.record.max_rank, self.format)
        module = import_module(self.record.exporter)
        if hasattr(module, "refuse"):
            with interruption.unswallowed(), quiet():
                module.refuse(request)

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
            raise converter_failed(
                error, request.program, request.deployable, path.name, self.format
            ) from error
