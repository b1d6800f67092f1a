"""A ``.pte`` file opened by ExecuTorch, and the calls that run it.

ExecuTorch has one thread pool per process, which is created again for another number of threads.
Files that are already open then compute in the new pool, so all sessions of a process must use the
same number. The Python binding holds the GIL while a method runs, so a second stream would wait.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np

from slide_deploy.backends.base import Configuration, Feeds, Port, Session, Stage, session_name
from slide_deploy.backends.executorch.delegates import ExecuTorchDelegate
from slide_deploy.backends.inputs import sized
from slide_deploy.backends.native_messages import line_of, muted
from slide_deploy.backends.refusals import refuse_options, refuse_precision, refuse_unusable
from slide_deploy.errors import InputError, MissingExtra
from slide_deploy.saved.pte.companion import Companion, read_companion
from slide_deploy.saved.pte.program import Method, PteTensor, map_program

SUFFIXES = (".pte",)
# Programs that are open in this process. They share its thread pool.
_open: "WeakSet[OpenedMethod]" = WeakSet()


def open_on(
    delegate: ExecuTorchDelegate, path: Path, configuration: Configuration, stage: Stage
) -> Session:
    """Read a file and initialise its delegate; see `Target`."""
    name = delegate.target
    with stage("import"):
        refuse_unusable(path, name, SUFFIXES)
        library = load_library()
    with stage("read"):
        method, companion = described(path, delegate, configuration)
        ports = sized(path, _ports(method, companion), configuration)
    with stage("compile"):
        threads = _take_threads(library, name, configuration.threads)
        first = open_program(library, path, name)
    waiting = [first]

    def new_stream() -> "MethodCalls":
        # Two methods of one program would share the memory of their values.
        opened = waiting.pop() if waiting else open_program(library, path, name)
        return MethodCalls(opened, tuple(port.name for port in ports))

    return Session(
        runtime=session_name(name, configuration.precision),
        version=version("executorch"),
        inputs=ports,
        outputs=_names(companion.outputs, len(method.outputs), "output"),
        new_stream=new_stream,
        facts={
            "library": "executorch",
            "version": version("executorch"),
            "device": delegate.name,
            "precision": configuration.precision,
            "delegate": delegate.id,
            "delegated_parts": str(sum(step.delegate is not None for step in method.instructions)),
            "operators_not_delegated": str(
                sum(bool(step.operator) for step in method.instructions)
            ),
            "threads": str(threads),
        },
        metadata=companion.metadata,
    )


def described(
    path: Path, delegate: ExecuTorchDelegate, configuration: Configuration
) -> tuple[Method, Companion]:
    """Read a file's method and its companion data without ExecuTorch.

    Raises:
        InputError: for a file or a configuration that cannot run there.
    """
    name = delegate.target
    refuse_unusable(path, name, SUFFIXES)
    refuse_options(name, configuration.options, ())
    refuse_precision(name, configuration.precision)
    if configuration.streams != 1:
        raise InputError(
            f"{name} runs one call at a time in a process, because its Python binding holds the "
            f"GIL: leave out --streams."
        )
    try:
        program = map_program(path)
        companion = read_companion(program)
        method = program.methods["forward"]
    except KeyError as error:
        raise InputError(f"{path} has no method forward: export the model again.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}; copy or export the file again.") from error
    if not method.inputs or not method.outputs:
        raise InputError(f"{path} has no input or no output: export the model again.")
    others = {each.id for each in method.delegates} - {delegate.id}
    if others:
        raise InputError(
            f"{path} was written for {', '.join(sorted(others))}, not for {delegate.id}: choose "
            f"the target of that delegate, or export it with --delegate {delegate.name}."
        )
    return method, companion


def is_for(delegate: ExecuTorchDelegate, path: Path) -> bool:
    """Return whether a file uses this delegate or none; False for a file that cannot be read."""
    try:
        method = map_program(path).methods["forward"]
    except (OSError, ValueError, KeyError):
        return False
    return {each.id for each in method.delegates} <= {delegate.id}


def load_library() -> Any:
    """Import the runtime, and return its module.

    Raises:
        MissingExtra: without ExecuTorch or torch.
    """
    for package in ("executorch", "torch"):
        if find_spec(package) is None:
            raise MissingExtra(package, "executorch")
    with muted():
        from executorch.extension.pybindings import portable_lib

    return portable_lib


@dataclass(frozen=True, eq=False)
class OpenedMethod:
    """A program and its method, which needs the program to stay alive.

    Attributes:
        program: of the runtime.
        method: its method ``forward``.
    """

    program: Any
    method: Any


def open_program(
    library: Any, path: Path, name: str, timed: bool = False, recorded: int = 0
) -> OpenedMethod:
    """Load a file.

    Args:
        library: returned by ``load_library``.
        path: of the file.
        name: of the target, for messages.
        timed: whether the time of every operator is recorded.
        recorded: bytes of the buffer for intermediates; 0 to record none.

    Raises:
        InputError: if ExecuTorch refuses it.
    """
    try:
        with muted():
            program = library._load_program(
                str(path),
                enable_etdump=timed or recorded > 0,
                debug_buffer_size=recorded,
                program_verification=library.Verification.InternalConsistency,
            )
            opened = OpenedMethod(program, program.load_method("forward"))
    except RuntimeError as error:
        raise InputError(f"{path} does not load on {name} ({line_of(error)}).") from error
    _open.add(opened)
    return opened


class MethodCalls:
    """Calls of a method.

    Every call sets the inputs again. The runtime copies them into its memory plan, where later
    operators overwrite them.
    """

    def __init__(self, opened: OpenedMethod, names: Sequence[str]) -> None:
        self._opened = opened
        self._names = names
        self._bound: list[Any] = []

    def bind(self, feeds: Feeds) -> None:
        """Keep a tensor for each input, by its name."""
        import torch

        self._bound = [torch.from_numpy(np.array(feeds[name], order="C")) for name in self._names]

    def run(self) -> None:
        """Run one inference, and return when its outputs are complete."""
        self._opened.method.set_inputs(self._bound)
        self._opened.method.execute()

    def read(self) -> list[np.ndarray]:
        """Return copies of the last call's outputs."""
        return [np.array(output) for output in self._opened.method.get_outputs()]


def _take_threads(library: Any, name: str, threads: int) -> int:
    """Resize the process's thread pool, and return the size that the runtime reports.

    Raises:
        InputError: if an open file uses another size, or the runtime keeps another size.
    """
    with muted():
        used = int(library._threadpool_get_thread_count())
    if used != threads:
        if len(_open):
            raise InputError(
                f"{name} computes with {used} threads in this process, not {threads}: an open file "
                f"shares them, so run this one in another process."
            )
        with muted():
            library._unsafe_reset_threadpool(threads)
        used = int(library._threadpool_get_thread_count())
    if used != threads:
        raise InputError(f"{name} uses {used} threads, not {threads}: choose {used} threads.")
    return used


def _ports(method: Method, companion: Companion) -> list[Port]:
    names = _names(companion.inputs, len(method.inputs), "input")
    ports = []
    for name, number in zip(names, method.inputs, strict=True):
        held = method.values[number]
        if not isinstance(held, PteTensor):
            raise InputError(f"Input {name} is not a tensor: export the model again.")
        sizes = (None, *held.sizes[1:]) if held.is_open else held.sizes
        ports.append(Port(name, sizes, held.dtype))
    return ports


def _names(stored: Sequence[str], count: int, what: str) -> tuple[str, ...]:
    """Return the names of inputs or outputs; numbered ones for a file of another exporter."""
    return tuple(stored) if len(stored) == count else tuple(f"{what} {n}" for n in range(count))
