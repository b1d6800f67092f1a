"""The contract of exporters: an ``ExportRequest`` and a path in, files out."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch

from exporters.refusals import converter_failed, refuse_ranks
from slide_deploy.backends.opening import require_target
from slide_deploy.backends.registry import target_named
from slide_deploy.deployable.inputs import Input
from slide_deploy.deployable.record import Deployable
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.formats import Delegate, Format, format_named
from slide_deploy.passes.report import PassReport
from slide_deploy.passes.running import run_passes
from slide_deploy.process import interruption
from slide_deploy.program.tracing import open_dimensions, traced
from slide_deploy.verification.reference_outputs.reference_file import reference_path

_Written = tuple[torch.export.ExportedProgram, tuple[PassReport, ...]]


class Traces:
    """A network traced, once for all formats whose layers are written alike.

    Args:
        deployable: the network; its attentions are lowered.
    """

    def __init__(self, deployable: Deployable) -> None:
        self.deployable = deployable

    @cached_property
    def single(self) -> torch.export.ExportedProgram:
        """At the sizes of its examples."""
        return traced(self.deployable, {})

    @cached_property
    def open(self) -> torch.export.ExportedProgram:
        """With symbols for its open sizes."""
        return traced(self.deployable, open_dimensions(self.deployable))


@dataclass(frozen=True)
class ExportRequest:
    """One network to be written.

    Attributes:
        traces: the network, traced when it is first needed.
        metadata: entries to store in the file, by key.
        precision: its name, see ``slide_deploy.precisions``.
        passes: names of the rewrites of the program, in order.
    """

    traces: Traces
    metadata: Mapping[str, str]
    precision: str = "float32"
    passes: tuple[str, ...] = ()

    @property
    def deployable(self) -> Deployable:
        """The network with its interface; its attentions are lowered."""
        return self.traces.deployable

    @property
    def inputs(self) -> tuple[Input, ...]:
        """What the file takes, in order."""
        return self.deployable.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the file's answers are called, in order."""
        return self.deployable.outputs

    @cached_property
    def _single(self) -> _Written:
        return run_passes(self.traces.single, self.passes)

    @cached_property
    def _open(self) -> _Written:
        return run_passes(self.traces.open, self.passes)

    def forget(self) -> None:
        """Let go of the rewritten programs, which hold weights of their own."""
        for name in ("_single", "_open"):
            self.__dict__.pop(name, None)

    @property
    def single(self) -> torch.export.ExportedProgram:
        """The network at the sizes of its examples, rewritten."""
        return self._single[0]

    @property
    def open(self) -> torch.export.ExportedProgram:
        """The network with symbols for its open sizes, rewritten."""
        return self._open[0]

    @property
    def program(self) -> torch.export.ExportedProgram:
        """The one of the two that the inputs ask for."""
        return self.open if self.deployable.open_names else self.single

    @property
    def reports(self) -> tuple[PassReport, ...]:
        """What each pass did to ``program``."""
        return (self._open if self.deployable.open_names else self._single)[1]


@dataclass(frozen=True)
class Exporter:
    """Writes the files of one format.

    Attributes:
        record: what is known of the format.
        delegate: that runs parts of the files, one of the record's; None if it has none. Modules
            of formats that have some get its name as the argument ``delegate``.
    """

    record: Format
    delegate: Delegate | None = None

    @property
    def format(self) -> str:
        """The format, as the user names it."""
        return self.record.name

    @property
    def suffix(self) -> str:
        """Of the file that other programs open."""
        return self.record.suffix

    def passes(self, precision: str = "float32") -> tuple[str, ...]:
        """Names of the rewrites of a traced network for this format, in order.

        Args:
            precision: of the file.
        """
        return self.record.other_passes.get(precision, self.record.passes)

    def paths(self, stem: Path) -> tuple[Path, ...]:
        """Every file or folder that is written for a stem, the one that others open first."""
        suffixes = (self.record.suffix, *self.record.companions)
        return tuple(stem.with_name(stem.name + suffix) for suffix in suffixes)

    def published(self, stem: Path) -> tuple[Path, ...]:
        """Everything that an export leaves for a stem: ``paths``, and the reference outputs."""
        paths = self.paths(stem)
        return (*paths, reference_path(paths[0]))

    def require(self, precision: str = "float32") -> None:
        """Check that this format can be written here.

        Raises:
            MissingExtra: if a library that writing needs is not installed.
            InputError: if the format is not written in that precision.
        """
        able = self.record.precisions if self.delegate is None else self.delegate.precisions
        if precision not in able:
            written = f"{self.format} for {self.delegate.name}" if self.delegate else self.format
            raise InputError(
                f"{written} is not written in {precision}: choose {' or '.join(able)} as "
                f"--precision."
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
                module.refuse(request, **self._delegated)

    def unprovable(self) -> str:
        """Why nothing here can run what is written, a clause; empty where something can."""
        if self.delegate is None:
            return ""
        target = target_named(f"{self.record.name}:{self.delegate.name}")
        found = target.find()
        return "" if found.present else f"{target.name} is not here ({found.detail})"

    @property
    def _delegated(self) -> dict[str, str]:
        return {} if self.delegate is None else {"delegate": self.delegate.name}

    @property
    def can_keep(self) -> bool:
        """Whether the exporter can leave single operators of a file of float16 in float32."""
        return hasattr(import_module(self.record.exporter), "write_keeping")

    def write(self, request: ExportRequest, path: Path, kept: Collection[str] = ()) -> None:
        """Write a file and what belongs to it.

        Args:
            request: what to write.
            path: where to; ends in the format's suffix, its folder exists.
            kept: values of a file in float32 whose operators stay in float32, see ``can_keep``.

        Raises:
            MissingExtra: if a library is not installed.
            InputError: if the format's converter refuses the model.
        """
        self.require()
        module = import_module(self.record.exporter)
        write: Callable[..., None] = module.write_keeping if kept else module.write
        try:
            with interruption.unswallowed(), quiet():
                write(request, path, *([kept] if kept else []), **self._delegated)
        except (InputError, OSError):
            raise
        except Exception as error:  # converters answer with any type
            raise converter_failed(
                error, request.program, request.deployable, path.name, self.format
            ) from error


def exporter_for(format: str, delegate: str | None = None) -> Exporter:
    """Return the exporter of a format.

    Args:
        format: name of the format.
        delegate: name of the library that runs parts of the files, for formats with a choice of
            delegates; None selects the format's default.

    Raises:
        InputError: if the format is unknown, or does not have this delegate.
    """
    record = format_named(format)
    return Exporter(record, record.delegate(delegate))


def require_targets(exporters: Sequence[Exporter], names: Sequence[str]) -> None:
    """Check, before anything is written, that each target is available and runs one of the files.

    Args:
        exporters: exporters of the formats to write.
        names: names of the targets to verify on.

    Raises:
        InputError: if a target is not available here, or runs none of the formats.
    """
    for name in names:
        target = require_target(name)
        if not any(exporter.suffix in target.suffixes for exporter in exporters):
            kinds = ", ".join(target.suffixes)
            formats = ", ".join(exporter.format for exporter in exporters)
            raise InputError(
                f"{name} runs {kinds} and none of the files in {formats}: leave --verify-on {name} "
                f"out, or write another format."
            )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress what converters print, log and warn; exceptions still propagate.

    Every written file is verified, so a converter's warnings do not concern the user.
    """
    silence = io.StringIO()
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(silence),
        contextlib.redirect_stderr(silence),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)
