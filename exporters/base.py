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
    """The traced programs of a network, shared by all formats with the same lowering.

    Args:
        deployable: the network, with lowered attentions.
    """

    def __init__(self, deployable: Deployable) -> None:
        self.deployable = deployable

    @cached_property
    def single(self) -> torch.export.ExportedProgram:
        """The program with the fixed sizes of the example inputs."""
        return traced(self.deployable, {})

    @cached_property
    def open(self) -> torch.export.ExportedProgram:
        """The program with symbols for the open sizes."""
        return traced(self.deployable, open_dimensions(self.deployable))


@dataclass(frozen=True)
class ExportRequest:
    """What an exporter writes: a network, metadata, a precision and passes.

    Attributes:
        traces: the network, which is traced on first use.
        metadata: entries of the file's metadata, by key.
        precision: name of a precision, see ``slide_deploy.precisions``.
        passes: names of the passes over the program, in order.
    """

    traces: Traces
    metadata: Mapping[str, str]
    precision: str = "float32"
    passes: tuple[str, ...] = ()

    @property
    def deployable(self) -> Deployable:
        """The network with its interface and lowered attentions."""
        return self.traces.deployable

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The inputs of the file, in order."""
        return self.deployable.inputs

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the file's outputs, in order."""
        return self.deployable.outputs

    @cached_property
    def _single(self) -> _Written:
        return run_passes(self.traces.single, self.passes)

    @cached_property
    def _open(self) -> _Written:
        return run_passes(self.traces.open, self.passes)

    def forget(self) -> None:
        """Release the rewritten programs, which hold their own copies of weights."""
        for name in ("_single", "_open"):
            self.__dict__.pop(name, None)

    @property
    def single(self) -> torch.export.ExportedProgram:
        """The program after all passes, with the fixed sizes of the example inputs."""
        return self._single[0]

    @property
    def open(self) -> torch.export.ExportedProgram:
        """The program after all passes, with symbols for the open sizes."""
        return self._open[0]

    @property
    def program(self) -> torch.export.ExportedProgram:
        """``open`` if the network has open sizes, else ``single``."""
        return self.open if self.deployable.open_names else self.single

    @property
    def reports(self) -> tuple[PassReport, ...]:
        """The report of each pass over ``program``."""
        return (self._open if self.deployable.open_names else self._single)[1]


@dataclass(frozen=True)
class Exporter:
    """Writes the files of one format.

    Attributes:
        record: the format's record.
        delegate: the library that runs parts of the files; None for formats without delegates.
            Exporter modules of formats with delegates take its name as the argument ``delegate``.
    """

    record: Format
    delegate: Delegate | None = None

    @property
    def format(self) -> str:
        """The name of the format."""
        return self.record.name

    @property
    def suffix(self) -> str:
        """The suffix of the file that other programs open."""
        return self.record.suffix

    def passes(self, precision: str = "float32") -> tuple[str, ...]:
        """Return the names of the passes for this format, in order."""
        return self.record.other_passes.get(precision, self.record.passes)

    def paths(self, stem: Path) -> tuple[Path, ...]:
        """Return every file or folder that may be written for a stem; the model file comes first.

        The last one may be missing: large weights have a file of their own, see ``weights_apart``.
        """
        apart = (self.record.weights_apart,) if self.record.weights_apart else ()
        suffixes = (self.record.suffix, *self.record.companions, *apart)
        return tuple(stem.with_name(stem.name + suffix) for suffix in suffixes)

    def written(self, stem: Path) -> tuple[Path, ...]:
        """Return the files of ``paths`` after writing: large weights apart only if they exist."""
        *others, last = self.paths(stem)
        is_missing = bool(self.record.weights_apart) and not last.exists()
        return tuple(others) if is_missing else (*others, last)

    def published(self, stem: Path) -> tuple[Path, ...]:
        """Return everything that an export may publish: ``paths`` and the reference outputs."""
        paths = self.paths(stem)
        return (*paths, reference_path(paths[0]))

    def require(self, precision: str = "float32") -> None:
        """Check that this format can be written here.

        Raises:
            MissingExtra: if a library of the exporter is not installed.
            InputError: if the format does not support the precision.
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
        """Check, before anything is written, that the format can express a network.

        Raises:
            InputError: if a tensor has more axes than the format allows, or the exporter's
                converter does not support an operator; the message names the layer.
        """
        if self.record.max_rank is not None:
            refuse_ranks(request.program, self.record.max_rank, self.format)
        module = import_module(self.record.exporter)
        if hasattr(module, "refuse"):
            with interruption.unswallowed(), quiet():
                module.refuse(request, **self._delegated)

    def unprovable(self) -> str:
        """Return why no runtime here can run the file, as a clause; empty if one can."""
        if self.delegate is None:
            return ""
        target = target_named(f"{self.record.name}:{self.delegate.name}")
        found = target.find()
        return "" if found.present else f"{target.name} is not available here ({found.detail})"

    @property
    def _delegated(self) -> dict[str, str]:
        return {} if self.delegate is None else {"delegate": self.delegate.name}

    @property
    def can_keep(self) -> bool:
        """Whether the exporter can keep single operators of a float16 file in float32."""
        return hasattr(import_module(self.record.exporter), "write_keeping")

    def write(self, request: ExportRequest, path: Path, kept: Collection[str] = ()) -> None:
        """Write a model file and its companion files.

        Args:
            request: what to write.
            path: path of the model file; ends in the format's suffix, and its folder exists.
            kept: names of values in a float32 file of the same network, whose operators stay in
                float32; see ``can_keep``.

        Raises:
            MissingExtra: if a library is not installed.
            InputError: if the format's converter fails.
        """
        self.require()
        module = import_module(self.record.exporter)
        write: Callable[..., None] = module.write_keeping if kept else module.write
        try:
            with interruption.unswallowed(), quiet():
                write(request, path, *([kept] if kept else []), **self._delegated)
        except (InputError, OSError):
            raise
        except Exception as error:  # converters raise any type
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
