"""Progress of a command: over named steps, or over a number of items."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout
from typing import Any, Self

from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from slide_deploy.process import interruption
from slide_deploy.terminal.console import stderr


class _Bar:
    """A bar on stderr within a ``with`` block, if stderr is a terminal.

    Standard output goes to stderr meanwhile, because a library or a user's network may print.
    Standard output is for the result only.

    Args:
        quiet: show nothing.
        total: number of steps or items.
        columns: columns of the bar, between the spinner and the times.
        settings: further settings of rich's ``Progress``.
    """

    def __init__(self, quiet: bool, total: int, *columns: ProgressColumn, **settings: Any) -> None:
        self._console = stderr()
        self._total = total
        self._is_plain = not quiet and not self._console.is_terminal
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(bar_width=24),
            *columns,
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
            **settings,
        )
        self._task = self._bar.add_task("", total=total)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._open.enter_context(redirect_stdout(sys.stderr))
        self._open.enter_context(self._bar)
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()


class Steps(_Bar):
    """Progress over named steps: a bar on a terminal, one line for each step elsewhere.

    As a context manager it returns a function; call it with the name of each step that starts.
    """

    def __init__(self, quiet: bool, total: int) -> None:
        name = TextColumn("{task.description}", table_column=Column(no_wrap=True, ratio=1))
        # A step may take minutes, so the estimate uses all earlier steps.
        super().__init__(
            quiet, total, name, TimeElapsedColumn(), expand=True, speed_estimate_period=3600
        )
        self._started = False

    def expect(self, more: int) -> None:
        """Add steps to the total."""
        self._total += more
        self._bar.update(self._task, total=self._total)

    def __call__(self, name: str) -> None:
        """Start a step.

        Args:
            name: name of the step.
        """
        interruption.check()  # the previous step may have suppressed a Ctrl-C
        if self._is_plain:
            self._console.print(f"… {name}", markup=False)
        self._bar.update(self._task, description=escape(name), advance=int(self._started))
        self._started = True


def expect(step: Callable[[str], None], more: int) -> None:
    """Add steps to the total of ``step``, if it is a progress bar."""
    if isinstance(step, Steps):
        step.expect(more)


class Counted(_Bar):
    """Progress over items: a bar on a terminal, a line for each tenth elsewhere.

    As a context manager it returns a function; call it with the number of items just done.

    Args:
        quiet: show nothing.
        total: number of items.
        what: noun for the items, for example "pictures".
    """

    def __init__(self, quiet: bool, total: int, what: str) -> None:
        super().__init__(quiet, total, MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn())
        self._what = what
        self._done = 0
        self._start = time.monotonic()

    def reached(self, done: int, total: int) -> None:
        """Set the number of items done and the total; a total of 0 means unknown."""
        self._total = total
        self._bar.update(self._task, total=total or None)
        self(done - self._done)

    def __call__(self, more: int) -> None:
        """Count items that were just done."""
        interruption.check()
        tenths = self._tenths()
        self._done += more
        self._bar.update(self._task, advance=more)
        if not self._is_plain or not self._total or self._tenths() == tenths:
            return
        seconds = (time.monotonic() - self._start) * (self._total - self._done) / self._done
        line = f"… {self._done:,} of {self._total:,} {self._what}, {_duration(seconds)} left"
        self._console.print(line, markup=False)

    def _tenths(self) -> int:
        return 10 * self._done // max(1, self._total)


def _duration(seconds: float) -> str:
    """Format seconds as 1:23:45 or 0:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
