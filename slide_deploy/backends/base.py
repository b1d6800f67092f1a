"""What every backend answers to: a file and a configuration in, a session out."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from slide_deploy.backends.configuration import Configuration
from slide_deploy.errors import InputError

Feeds = Mapping[str, np.ndarray]
BFLOAT16 = "bfloat16"
# Times one stage of a cold start: ``with stage("compile"): ...``. The names are "import", "read"
# and "compile", as far as a runtime tells them apart.
Stage = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """A `Stage` that nobody times."""
    return nullcontext()


@dataclass(frozen=True)
class Port:
    """An input of an opened file.

    Attributes:
        name: as the file calls it.
        shape: None in the place of each size that is open.
        dtype: of its values, as numpy spells it; "bfloat16", which numpy lacks, is fed as float32.
        pixels: whether it takes pixels from 0 to 255 whatever its type, as Core ML's images are.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"
    pixels: bool = False


class Stream(Protocol):
    """Calls of one session, one at a time. Several streams may run side by side, each in a thread.

    What is timed is ``run`` alone, and what is proved is what ``read`` gives after that very call.
    """

    def bind(self, feeds: Feeds) -> None:
        """Hand over a tensor for each input, by its name, of its very type and a shape it takes."""

    def run(self) -> None:
        """Run one inference on what was bound, and return when its outputs are complete."""

    def read(self) -> Sequence[np.ndarray]:
        """Every output of the last call, in the order of the session's names; copies."""


class FunctionStream:
    """A stream of a function from inputs to outputs, for runtimes that bind nothing.

    Args:
        function: a tensor for each input in, every output out, in the order of the session's names.
    """

    def __init__(self, function: Callable[[Feeds], Sequence[np.ndarray]]) -> None:
        self._function = function
        self._feeds: Feeds = {}
        self._answers: Sequence[np.ndarray] = ()

    def bind(self, feeds: Feeds) -> None:
        """Keep the inputs."""
        self._feeds = dict(feeds)

    def run(self) -> None:
        """Call the function."""
        self._answers = self._function(self._feeds)

    def read(self) -> Sequence[np.ndarray]:
        """Every output of the last call; copies."""
        return [np.array(answer) for answer in self._answers]


@dataclass(frozen=True)
class Session:
    """A written file, opened on a device in a configuration.

    Attributes:
        runtime: what runs it, as tables show it, for example "onnxruntime".
        version: of the runtime's library.
        inputs: in the order of the file.
        outputs: their names, in the order of the file.
        new_stream: makes a stream with buffers of its own.
        facts: device and settings, as the runtime itself reports them, by its own names.
        metadata: what the exporter stored with the file, by key.
        clock: nanoseconds, monotonic.
        is_apart: whether another process runs it, whose memory nobody here can tell.
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
        """Every output by its name, see `run_on`. One thread at a time."""
        return self.run_on(self._stream, feeds)

    def run_on(self, stream: Stream, feeds: Feeds) -> dict[str, np.ndarray]:
        """Every output by its name, as one of this session's streams gives it.

        Args:
            stream: of `new_stream`.
            feeds: a tensor for each input, by its name. Numbers of another precision are rounded.

        Raises:
            InputError: if an input is missing or of another kind, or the runtime refuses it.
        """
        taken: dict[str, np.ndarray] = {}
        for port in self.inputs:
            if port.name not in feeds:
                raise InputError(f"The file takes {port.name}, which it was not given.")
            values = feeds[port.name]
            fed = "float32" if port.dtype == BFLOAT16 else port.dtype
            if not np.can_cast(values.dtype, fed, "same_kind"):
                raise InputError(
                    f"The file takes {port.name} as {port.dtype} and not as {values.dtype}."
                )
            taken[port.name] = np.asarray(values, fed, order="C")
        try:
            stream.bind(taken)
            stream.run()
            answers = stream.read()
        except InputError:
            raise
        except Exception as error:  # every runtime has errors of its own
            reason = message_lines(error)[0]
            raise InputError(f"{self.runtime} could not run the file ({reason}).") from error
        return dict(zip(self.outputs, answers, strict=True))


@dataclass(frozen=True)
class Availability:
    """Whether a target can be used here.

    Attributes:
        present: it can.
        detail: device and version; or the reason why not, with the command that would help.
    """

    present: bool
    detail: str


@dataclass(frozen=True)
class OperatorTime:
    """What a runtime says of one of its operators, for one call.

    Attributes:
        name: of the node, as the runtime names it after its own optimiser.
        operator: its kind, with the kernel where the runtime tells.
        nanoseconds: mean of the profiled calls.
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
        find: looks for the library and the device; loads neither a file nor more than it must.
        open: reads and compiles a file. Raises `InputError` for a file or a configuration that it
            cannot run, `MissingExtra` without its library; other errors are the runtime's own.
        intermediates: every floating-point value inside a file for some inputs, by its name in the
            common graph; None where the runtime does not tell.
        profile: runs a file some calls and tells each operator's time; None where the runtime does
            not tell.
        runs: whether it runs a file of its suffixes; None if it runs all of them.
        processor: whether it runs on the CPU, whose limits are known.
        is_timed: whether its speed means anything; False for what exists to prove files alone.
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


def session_name(target: str, precision: str = "float32") -> str:
    """What tables call a session: the runtime, with its device and precision where they stand out.

    Args:
        target: RUNTIME:DEVICE.
        precision: of the arithmetic, as in `Configuration`.
    """
    name = target.removesuffix(":cpu")
    return name if precision in ("float32", "default") else f"{name} in {precision}"


def message_lines(error: Exception) -> list[str]:
    """What a native library says, at least one line.

    It quotes names from the file. Where those are no UTF-8 its binding to Python raises
    ``UnicodeDecodeError`` in place of the error, and the message is what could not be decoded.
    """
    text = str(error)
    if isinstance(error, UnicodeDecodeError):
        text = error.object.decode("utf-8", "replace")
    return text.strip().splitlines() or [type(error).__name__]
