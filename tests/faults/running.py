"""Commands of slide-deploy in processes that are forked, so that each starts with torch loaded."""

import atexit
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Fault = Callable[[], object]


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        code: of the process; negative for the signal that ended it.
        said: what it printed.
        seconds: that it took.
    """

    code: int
    said: str
    seconds: float

    @property
    def sentence(self) -> str:
        """The last line, which is the error where there was one."""
        return self.said.strip().splitlines()[-1] if self.said.strip() else ""


def run(
    arguments: Sequence[object],
    here: Path,
    *faults: Fault,
    environment: Mapping[str, str | None] | None = None,
    after: tuple[float, signal.Signals] | None = None,
) -> Ended:
    """Run a command to its end.

    Args:
        arguments: of ``slide-deploy``.
        here: the folder that it runs in; its temporary files go into ``here/tmp``.
        faults: called in its process before it starts.
        environment: variables that it gets, or lacks where they are None.
        after: seconds until it receives a signal.
    """
    return Running(arguments, here, *faults, environment=environment).end(after)


class Running:
    """A command that runs; see ``run``."""

    def __init__(
        self,
        arguments: Sequence[object],
        here: Path,
        *faults: Fault,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end
        self._started = time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if not self._pid:
            _become(arguments, here, faults, environment or {}, self._output.fileno())

    def end(self, after: tuple[float, signal.Signals] | None = None) -> Ended:
        """Wait for its end, with a signal on the way if one is wanted."""
        status = None
        if after is not None:
            until = self._started + after[0]
            while status is None and time.monotonic() < until:
                found, code = os.waitpid(self._pid, os.WNOHANG)
                status = code if found else None
                time.sleep(0.002)
            if status is None:
                os.kill(self._pid, after[1])
        if status is None:
            status = os.waitpid(self._pid, 0)[1]
        seconds = time.monotonic() - self._started
        with self._output as output:
            output.seek(0)
            said = output.read().decode("utf-8", "replace")
        return Ended(os.waitstatus_to_exitcode(status), said, seconds)


def _become(
    arguments: Sequence[object],
    here: Path,
    faults: Sequence[Fault],
    environment: Mapping[str, str | None],
    output: int,
) -> None:
    """Turn this process into the command, which never returns."""
    code = 70
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(here)
        temporary = here / "tmp"
        temporary.mkdir(exist_ok=True)
        tempfile.tempdir = None
        for name, value in {"TMPDIR": str(temporary), **environment}.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        sys.argv = ["slide-deploy", *map(str, arguments)]
        from slide_deploy.cli import main

        for fault in faults:
            fault()
        main()
        code = 0
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        try:
            for kind in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE):  # of a fault, which is over
                resource.setrlimit(kind, (resource.getrlimit(kind)[1],) * 2)
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
