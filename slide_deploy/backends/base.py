"""The contract of every backend: a `Target` opens a file in a `Configuration` as a `Session`."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from slide_deploy.backends.native_messages import message_lines
from slide_deploy.errors import InputError

Feeds = Mapping[str, np.ndarray]
BFLOAT16 = "bfloat16"
# Times one stage of a cold start: ``with stage("compile"): ...``. The stages are "import", "read"
# and "compile"; a runtime that combines two of them uses one name for both.
Stage = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """Return a `Stage` that measures nothing."""
    return nullcontext()


@dataclass(frozen=True)
class Configuration:
    """How a target runs a file. Every setting is made explicitly, whatever the runtime's defaults.

    Attributes:
        threads: that one inference may use.
        pinned: processors that the process is bound to; empty for no binding.
        precision: of the arithmetic: "float32", "float16", "bfloat16", or "default" for the
            runtime's own choice.
        batch: images per call, if the file leaves the batch size open. None leaves the batch size
            and every other open size as the file has it.
        streams: calls that are in flight at a time.
        shapes: input shapes by name, if the file leaves more sizes open than the batch.
        options: of the runtime, by its own names; they override all other settings.
        environment: variables for the process, because runtimes read some settings from there.
    """

    threads: int = 1
    pinned: tuple[int, ...] = ()
    precision: str = "float32"
    batch: int | None = 1
    streams: int = 1
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Images per call; 1 if the file fixes the batch size."""
        return self.batch or 1


@dataclass(frozen=True)
class Port:
    """An input of an opened file.

    Attributes:
        name: in the file.
        shape: sizes of its dimensions; None for each open one.
        dtype: in numpy's spelling. numpy lacks "bfloat16", so such an input is fed float32.
        pixels: whether it takes pixels from 0 to 255 whatever its dtype, as Core ML images do.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    pixels: bool = False


class Stream(Protocol):
    """Calls of one session, one at a time. Several streams may run in parallel, one per thread.

    Benchmarks time ``run`` alone. Verification checks the outputs that ``read`` returns after it.
    """

    def bind(self, feeds: Feeds) -> None:
        """Set a tensor for each input, by name, in the input's dtype and a shape that it takes."""

    def run(self) -> None:
        """Run one inference on the bound inputs, and return when its outputs are complete."""

    def read(self) -> Sequence[np.ndarray]:
        """Return copies of the last call's outputs, in the order of `Session.outputs`."""


class FunctionStream:
    """A stream that calls a function, for runtimes that do not bind inputs.

    Args:
        function: takes a tensor for each input, by name, and returns the outputs in the order of
            `Session.outputs`.
    """

    def __init__(self, function: Callable[[Feeds], Sequence[np.ndarray]]) -> None:
        self._function = function
        self._feeds: Feeds = {}
        self._outputs: Sequence[np.ndarray] = ()

    def bind(self, feeds: Feeds) -> None:
        """Keep copies of the inputs."""
        self._feeds = {name: np.array(values) for name, values in feeds.items()}

    def run(self) -> None:
        """Call the function."""
        self._outputs = self._function(self._feeds)

    def read(self) -> Sequence[np.ndarray]:
        """Return copies of the last call's outputs."""
        return [np.array(output) for output in self._outputs]


@dataclass(frozen=True)
class Session:
    """A written file, opened on a device in a configuration.

    Attributes:
        runtime: name of the runtime in tables, for example "onnxruntime".
        version: of the runtime's library.
        inputs: in the order of the file.
        outputs: their names, in the order of the file.
        new_stream: makes a stream with its own buffers.
        facts: device and settings, as the runtime itself reports them, by its own names.
        metadata: entries that the exporter stored with the file, by key.
        clock: returns nanoseconds; monotonic.
        is_apart: whether the file runs in another process, whose memory cannot be measured here.
    """

    runtime: str
    version: str
    inputs: tuple[Port, ...]
    outputs: tuple[str, ...]
    new_stream: Callable[[], Stream]
    facts: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], int] = time.perf_counter_ns
    is_apart: bool = False

    @cached_property
    def _stream(self) -> Stream:
        return self.new_stream()

    def __call__(self, feeds: Feeds) -> dict[str, np.ndarray]:
        """Return every output by name; see `run_on`. One thread at a time."""
        return self.run_on(self._stream, feeds)

    def run_on(self, stream: Stream, feeds: Feeds) -> dict[str, np.ndarray]:
        """Run one inference on one of this session's streams, and return every output by name.

        Args:
            stream: from `new_stream`.
            feeds: a tensor for each input, by name. Numbers of another precision are rounded.

        Raises:
            InputError: if an input is missing or of another kind, or the runtime refuses it.
        """
        taken: dict[str, np.ndarray] = {}
        for port in self.inputs:
            if port.name not in feeds:
                raise InputError(f"Input {port.name} of the file is missing: pass an array for it.")
            values = feeds[port.name]
            fed = "float32" if port.dtype == BFLOAT16 else port.dtype
            if not np.can_cast(values.dtype, fed, "same_kind"):
                raise InputError(
                    f"Input {port.name} of the file takes {port.dtype}, not {values.dtype}: "
                    f"convert the array."
                )
            taken[port.name] = np.asarray(values, fed, order="C")
        try:
            stream.bind(taken)
            stream.run()
            outputs = stream.read()
        except InputError:
            raise
        except Exception as error:  # each runtime has its own error classes
            reason = message_lines(error)[0]
            raise InputError(f"{self.runtime} could not run the file ({reason}).") from error
        return dict(zip(self.outputs, outputs, strict=True))


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used here.

    Attributes:
        present: whether it can.
        detail: device and version, or the reason why not with the command that helps.
    """

    present: bool
    detail: str


@dataclass(frozen=True)
class OperatorTime:
    """Time of one operator in one call, as the runtime's profiler reports it.

    Attributes:
        name: of the node in the graph after the runtime's optimiser.
        operator: its kind, with the kernel if the runtime reports it.
        nanoseconds: mean over the profiled calls.
    """

    name: str
    operator: str
    nanoseconds: int


@dataclass(frozen=True)
class Target:
    """A runtime on a device.

    Attributes:
        name: RUNTIME:DEVICE, for example "onnxruntime:cpu".
        suffixes: of the files that it runs.
        find: looks for the library and the device, and loads as little as possible.
        open: reads and compiles a file. Raises `InputError` for a file or a configuration that it
            cannot run, `MissingExtra` without its library; other errors are the runtime's own.
        intermediates: returns every floating-point intermediate of a file for some inputs, by its
            name in the common graph; None if the runtime does not expose them. Raises as ``open``
            does.
        profile: runs a file for some calls and returns each operator's time; None if the runtime
            has no profiler. Raises as ``open`` does.
        runs: whether it runs a given file with one of its suffixes; None if it runs all of them.
        processor: whether it runs on the CPU, whose limits are known.
        is_timed: whether its speed is meaningful; False for a target that only proves files.
        open_exactly: opens a file to compute reference values, in float32 and without optimising
            the graph; None if ``open`` is as exact as the runtime gets. It takes the types of the
            file's values as well, in numpy's spelling. Raises as ``open`` does.
    """

    name: str
    suffixes: tuple[str, ...]
    find: Callable[[], Availability]
    open: Callable[[Path, Configuration, Stage], Session]
    intermediates: Callable[[Path, Feeds], dict[str, np.ndarray]] | None = None
    profile: Callable[[Path, Configuration, int], Sequence[OperatorTime]] | None = None
    runs: Callable[[Path], bool] | None = None
    processor: bool = False
    is_timed: bool = True
    open_exactly: Callable[[Path, Configuration, Collection[str]], Session] | None = None


def session_name(target: str, precision: str = "float32") -> str:
    """Return the name of a session in tables, without the default device and precision.

    Args:
        target: RUNTIME:DEVICE; ":cpu" is left out.
        precision: of the arithmetic, as in `Configuration`; float32 is left out.
    """
    name = target.removesuffix(":cpu")
    return name if precision in ("float32", "default") else f"{name} in {precision}"
