"""Starts the process of one candidate, sends it commands and ends it."""

import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.measuring.limits import ENVIRONMENT
from benchmarks.measuring.worker import WorkerFailed
from slide_deploy.process.child_python import python_environment

_ROOT = Path(__file__).resolve().parents[2]


class Process:
    """A worker in a process of its own.

    Args:
        threads: Number of threads that its libraries may use.
        timeout: Maximum seconds of one command, after which the process is ended.
        environment: Additional environment variables.
    """

    def __init__(self, threads: int, timeout: float, environment: Mapping[str, str]) -> None:
        self._timeout = timeout
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            # Not -m: it would pickle classes of __main__, which is another module here.
            [sys.executable, "-c", "from benchmarks.measuring.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={
                **python_environment(_ROOT),
                # Libraries read these when they are loaded.
                **dict.fromkeys(ENVIRONMENT, str(threads)),
                **environment,
            },
            # Ctrl-C must reach only the race, which ends its workers itself.
            start_new_session=True,
        )

    def call(self, command: str, *arguments: Any) -> Any:
        """Send a command and wait for its result.

        Raises:
            WorkerFailed: The command failed, took too long, or the process ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(self._timeout, end)
        timer.start()
        try:
            pickle.dump((command, arguments), self._process.stdin)
            self._process.stdin.flush()
            result = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            if late.is_set():
                reason = f"it did not respond within {self._timeout:g} s and was ended"
            else:
                reason = self._exit_reason()
            raise WorkerFailed(reason) from error
        finally:
            timer.cancel()
        if isinstance(result, WorkerFailed):
            raise result
        return result

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream is not None:
                with suppress(OSError):  # closing flushes data for a process that has ended
                    stream.close()

    def _exit_reason(self) -> str:
        code = self._process.wait()
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        printed = f"; its last output: {lines[-1].strip()[:200]}" if lines else ""
        if code >= 0:
            return f"its process ended with exit code {code}{printed}"
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}{printed}"
