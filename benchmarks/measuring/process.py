"""The race's handle on the process of one candidate."""

import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring.worker import Failure
from slide_deploy.process.child_python import python_environment

_ROOT = Path(__file__).resolve().parents[2]
# Read by the libraries that compute with threads when they are loaded, before anybody can ask.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class WorkerFailed(Exception):
    """A candidate cannot go on; the text is one sentence."""


class Process:
    """A worker in a process of its own.

    Args:
        threads: that libraries in it may use.
        timeout: seconds that one command may take before the process is ended.
        environment: variables that it has more than this process.
    """

    def __init__(self, threads: int, timeout: float, environment: Mapping[str, str]) -> None:
        self._timeout = timeout
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self._process = subprocess.Popen(
            # Not -m: what it pickles would belong to __main__, which is another module here.
            [sys.executable, "-c", "from benchmarks.measuring.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env={
                **python_environment(_ROOT),
                **dict.fromkeys(_THREADS, str(threads)),
                **environment,
            },
            # Ctrl-C is for the race, which ends its workers itself.
            start_new_session=True,
        )

    def ask(self, command: str, *arguments: Any) -> Any:
        """Send a command and wait for its answer.

        Raises:
            WorkerFailed: if the command failed, the process ended or took too long.
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
            answer = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            if late.is_set():
                reason = f"it did not answer within {self._timeout:g} s and was ended"
            else:
                reason = self._last_words()
            raise WorkerFailed(reason) from error
        finally:
            timer.cancel()
        if isinstance(answer, Failure):
            raise WorkerFailed(answer.reason)
        return answer

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._said):
            if stream is not None:
                try:
                    stream.close()
                except OSError:  # what was not yet written to a process that is gone
                    continue

    def _last_words(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        said = f"; it last said: {lines[-1].strip()[:200]}" if lines else ""
        if code >= 0:
            return f"its process ended with exit code {code}{said}"
        name = signal.Signals(-code).name
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}{said}"
