"""Progress of a command with known steps."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stdout

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from slide_deploy import interruption
from slide_deploy.console import stderr


class Steps:
    """A bar on a terminal, a line a step elsewhere, nothing if quiet; all of it on stderr.

    Used as a context manager it gives the function to call with each step's name as it starts.
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
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=quiet or not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=total)
        self._started = False
        self._open = ExitStack()

    def __enter__(self) -> Callable[[str], None]:
        self._open.enter_context(redirect_stdout(sys.stderr))
        self._open.callback(self._bar.stop)
        self._bar.start()
        return self._step

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    def _step(self, name: str) -> None:
        interruption.check()  # the step before may have swallowed a Ctrl-C
        if not self._quiet and not self._console.is_terminal:
            self._console.print(f"… {name}", markup=False)
        self._bar.update(self._task, description=escape(name), advance=int(self._started))
        self._started = True
