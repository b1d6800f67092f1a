"""Reads many damaged inputs in one process that may be taken down; a line for each.

    python -m tests.fuzz.child READER FOLDER FIRST LAST [--guided PART]

A line holds a number and the outcome: ``refused``, ``accepted``, or what is wrong. The number is
printed before the input is read, so that the last line tells what took the process down. The input
itself stays in FOLDER.
"""

import argparse
import encodings
import os
import pkgutil
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any

SECONDS = 5
# A pipe without a writer uses no processor. The machine may be busy.
_WAITED = 60
MEMORY = 2 << 30
# A foreign runtime starts threads, and asks the system for more than it uses.
_MEMORY_OF_RUNTIMES = 4 << 30


class Hang(BaseException):
    """An input took too long; no ``except Exception`` takes it for an error of its own."""


class Watch:
    """Python's own report of what is imported, compiled, started, connected and written."""

    _ALWAYS = (
        *("exec", "compile", "import", "os.", "subprocess.", "socket.", "pickle.", "marshal."),
        *("ctypes.dlopen", "shutil.", "tempfile.", "urllib.", "webbrowser.", "code.__new__"),
    )
    # What runtimes do whatever they read: a folder of their own, the library itself, silence.
    _OF_RUNTIMES = (
        *("tempfile.", "shutil.", "os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.putenv"),
        *("os.unsetenv", "os.truncate", "os.utime", "os.chmod", "socket.__new__"),
    )
    _READING = ("os.listdir", "os.scandir", "os.walk", "os.fwalk")

    def __init__(self, runs: bool) -> None:
        """Look at a reader, or at a foreign runtime, which may do more."""
        self.seen: list[str] = []
        self._active = False
        self._runs = runs
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._active:
            return
        if event == "open":
            path, _, flags = arguments
            writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_APPEND
            if isinstance(flags, int) and flags & writes and not self._is_of_a_runtime(str(path)):
                self.seen.append(f"open for writing {path}")
        elif event == "import" and str(arguments[0]).startswith("encodings."):
            pass  # Python's own, of which all that there are were imported before
        elif event == "compile" and arguments[1] == "<unknown>":
            pass  # ast.literal_eval, which runs nothing: running is an event of its own
        elif self._runs and self._is_usual(event, arguments):
            pass
        elif event.startswith(self._ALWAYS) and event not in self._READING:
            self.seen.append(f"{event} {str(arguments)[:80]}")

    def _is_of_a_runtime(self, path: str) -> bool:
        return self._runs and (path == os.devnull or path.startswith(tempfile.gettempdir()))

    def _is_usual(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == "subprocess.Popen":
            # ExecuTorch's own compiler of FlatBuffers, and ours around Apple's library.
            started = [str(each) for each in arguments[1]]
            ours = started[:3] == [sys.executable, "-m", "slide_deploy.saved.aimodel.worker"]
            return ours or started[0].endswith("/flatc")
        if event in ("compile", "exec"):
            # ExecuTorch's inspector defines a dataclass each time it reads events.
            return sys._getframe(2).f_globals.get("__name__") == "dataclasses"
        library = event == "ctypes.dlopen" and arguments[0] is None
        return library or event.startswith(self._OF_RUNTIMES)

    @contextmanager
    def looking(self) -> Iterator[None]:
        self.seen.clear()
        self._active = True
        try:
            yield
        finally:
            self._active = False


def too_long(_: int, frame: FrameType | None) -> None:
    place = "" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
    raise Hang(place)


class Trial:
    """One reader, and the folder in which its inputs are damaged."""

    def __init__(self, name: str, folder: Path) -> None:
        from slide_deploy.errors import InputError
        from tests.fuzz.readers import reader_named

        signal.signal(signal.SIGPROF, too_long)
        signal.signal(signal.SIGALRM, too_long)
        self._refusal = InputError
        self.reader = reader_named(name)
        self.folder = folder
        self._seed = folder / "valid"
        self._tried = folder / "tried"
        shutil.rmtree(folder, ignore_errors=True)
        self._seed.mkdir(parents=True)
        self.reader.seed(self._seed)
        self.parts = [each.relative_to(self._seed) for each in self.reader.parts_of(self._seed)]
        self._watch = Watch(self.reader.runs)
        _import_encodings()
        shutil.copytree(self._seed, self._tried)
        for part in self.parts:
            # All that a good file needs is imported now.
            self.reader.read(self.reader.named(self._tried, self._tried / part))
            for bad in (b"", b"\x80\x02}.", b"[1]", b"\xff" * 40):
                self.outcome(part, bad)
        memory = _MEMORY_OF_RUNTIMES if self.reader.runs else MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (_mapped() + memory - peak(),) * 2)

    def damaged(self, number: int) -> tuple[Path, bytes]:
        """The part that input NUMBER damages, and its content."""
        rng = random.Random(f"{self.reader.name} {number}")
        part = rng.choice(self.parts)
        return part, self.reader.damage(rng, (self._seed / part).read_bytes())

    def read(self, part: Path, content: bytes) -> None:
        """Read an input as the product does; raises what that raises."""
        target = self._tried / part
        target.write_bytes(content)
        try:
            if self.reader.before is not None:
                self.reader.before(self.reader.named(self._tried, target))
            with self._watch.looking():
                signal.setitimer(signal.ITIMER_PROF, SECONDS)
                signal.setitimer(signal.ITIMER_REAL, _WAITED)
                try:
                    self.reader.read(self.reader.named(self._tried, target))
                finally:
                    signal.setitimer(signal.ITIMER_PROF, 0)
                    signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            self._restore(part)

    def _restore(self, part: Path) -> None:
        shutil.copyfile(self._seed / part, self._tried / part)
        if self.reader.before is not None:
            self.reader.before(self.reader.named(self._tried, self._tried / part))

    def outcome(self, part: Path, content: bytes) -> str:
        """A word: what came of an input."""
        found = "accepted"
        try:
            self.read(part, content)
        except self._refusal as error:
            lines = str(error).splitlines()
            found = "refused" if len(lines) == 1 else f"crash: a refusal of {len(lines)} lines"
        except Hang as hang:
            found = f"hang: at {hang}"
        except MemoryError:
            found = "memory: more than the limit"
        except BaseException as error:
            found = f"crash: {type(error).__name__}: {error} at {_origin(error)}"
        if self._watch.seen:
            found = f"code: {self._watch.seen[0]}"
        return " ".join(found.split())[:300]


def _origin(error: BaseException) -> str:
    trace = error.__traceback__
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{Path(code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(places[::-1][:3])


def _import_encodings() -> None:
    for module in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):  # those of other systems
            import_module(f"encodings.{module.name}")


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def peak() -> int:
    """Bytes that this process has had in memory at most."""
    # What getrusage says goes back to before this process was another's child.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("reader")
    parser.add_argument("folder", type=Path)
    parser.add_argument("first", type=int)
    parser.add_argument("last", type=int)
    parser.add_argument("--guided", type=Path)
    parser.add_argument("--found", type=Path)
    given = parser.parse_args()
    # Whatever runtimes print goes nowhere.
    told = os.fdopen(os.dup(1), "w", buffering=1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)

    def tell(text: str) -> None:
        told.write(text)
        told.flush()

    if given.guided is not None:
        from tests.fuzz import guided

        guided.instrument()
    trial = Trial(given.reader, given.folder)

    def one(number: int, part: Path, content: bytes) -> None:
        tell(f"{number}\t")
        found = trial.outcome(part, content)
        tell(f"{found}\t{peak()}\n")
        if given.found is not None and found not in ("refused", "accepted"):
            given.found.mkdir(parents=True, exist_ok=True)
            (given.found / f"{number}-{part.name}").write_bytes(content)

    if given.guided is not None:
        guided.fuzz(trial, given.guided, given.last - given.first, one)
        return
    for number in range(given.first, given.last):
        one(number, *trial.damaged(number))


if __name__ == "__main__":
    main()
