"""What every target answers to: a file and a configuration in, a callable out."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.record import Configuration, OperatorTime, Tensor

# Times one stage of a cold start: ``with stage("compile"): ...``.
Stage = Callable[[str], AbstractContextManager[None]]


def untimed(name: str) -> AbstractContextManager[None]:
    """A `Stage` that nobody times."""
    return nullcontext()


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
class Loaded:
    """A file, ready to run.

    Attributes:
        new_stream: makes a call of its own: a function that runs one inference on inputs that were
            bound beforehand and returns when its outputs are complete. Several may run at a time,
            each in a thread of its own.
        inputs: as they are fed.
        runtime: library, version, device and settings, as the runtime itself reports them.
        clock: nanoseconds, monotonic.
    """

    new_stream: Callable[[], Callable[[], None]]
    inputs: tuple[Tensor, ...]
    runtime: dict[str, str]
    clock: Callable[[], int] = time.perf_counter_ns


@dataclass(frozen=True)
class Target:
    """A runtime on a device.

    Attributes:
        name: for example "onnxruntime:cpu".
        suffixes: of the files that it runs.
        find: looks for the library and the device; loads neither a file nor more than it must.
        load: reads and compiles a file. Raises `InputError` for a file or a configuration that it
            cannot run, `MissingExtra` without its library; other errors are the runtime's own.
        profile: runs a file some calls and tells each operator's time; None where the runtime does
            not tell.
        processor: whether it runs on the CPU, whose limits are known.
    """

    name: str
    suffixes: tuple[str, ...]
    find: Callable[[], Availability]
    load: Callable[[Path, Configuration, Stage], Loaded]
    profile: Callable[[Path, Configuration, int], Sequence[OperatorTime]] | None = None
    processor: bool = False
