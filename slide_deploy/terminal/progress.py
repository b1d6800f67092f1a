"""Progress of a command with known steps, or over many things of one kind."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from slide_deploy.process import interruption
from slide_deploy.terminal.console import stderr


class Steps:
    """A bar with the time left on a terminal, a line a step elsewhere, nothing if quiet; on stderr.

    Used as a context manager it gives what to call with each step's name as it starts.
    What the code inside prints, a user's network or a library, goes to stderr as well: standard
    output is for the result.

    Args:
        quiet: show nothing.
        total: how many steps there will be.
    """

    def __init__(self, quiet: bool, total: int) -> None:
        self._quiet = quiet
        self._console = stderr()
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1)),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            expand=True,
            # A step may take minutes; those before it tell how long the others will.
            speed_estimate_period=3600,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)
        self._total = total
        self._started = False
        self._open = ExitStack()

    def __enter__(self) -> "Steps":
        self._open.enter_context(redirect_stdout(sys.stderr))
        self._open.callback(self._bar.stop)
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def expect(self, more: int) -> None:
        """There are so many more steps than anybody knew."""
        self._total += more
        self._bar.update(self._task, total=self._total)

    def __call__(self, name: str) -> None:
        """A step starts.

        Args:
            name: of it.
        """
        interruption.check()  # the step before may have swallowed a Ctrl-C
        if not self._quiet and not self._console.is_terminal:
            self._console.print(f"… {name}", markup=False)
        self._bar.update(self._task, description=escape(name), advance=int(self._started))
        self._started = True


def expect(step: Callable[[str], None], more: int) -> None:
    """Tell whoever is told of steps, if it is a bar, that there are so many more of them."""
    if isinstance(step, Steps):
        step.expect(more)


class Counted:
    """A bar with the time left on a terminal, a line for each tenth elsewhere, nothing if quiet.

    Used as a context manager it gives the function to call with how many more are done.

    Args:
        quiet: show nothing.
        total: how many there are.
        what: they are, as "pictures".
    """

    def __init__(self, quiet: bool, total: int, what: str) -> None:
        self._quiet = quiet
        self._total, self._what = total, what
        self._console = stderr()
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(what),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)
        self._done = 0
        self._open = ExitStack()

    def __enter__(self) -> Callable[[int], None]:
        self._open.enter_context(redirect_stdout(sys.stderr))
        self._open.callback(self._bar.stop)
        self._bar.start()
        self._start = time.monotonic()
        return self._count

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def reached(self, done: int, total: int) -> None:
        """So many are done in all, of a total that was not known before; 0 if nobody knows it."""
        self._total = total
        self._bar.update(self._task, total=total or None)
        self._count(done - self._done)

    def _count(self, more: int) -> None:
        interruption.check()
        tenths = self._tenths()
        self._done += more
        self._bar.update(self._task, advance=more)
        is_silent = self._quiet or self._console.is_terminal or not self._total
        if is_silent or self._tenths() == tenths:
            return
        seconds = (time.monotonic() - self._start) * (self._total - self._done) / self._done
        line = f"… {self._done:,} of {self._total:,} {self._what}, {_duration(seconds)} left"
        self._console.print(line, markup=False)

    def _tenths(self) -> int:
        return 10 * self._done // max(1, self._total)


def _duration(seconds: float) -> str:
    """A time to wait, as 1:23:45 or 0:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
