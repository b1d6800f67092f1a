"""The files that a command writes for its options: checked first, written at the end."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.writing import is_stdout, require_writable, write_bytes, write_text
from slide_deploy.terminal.printable import echo


class Outputs:
    """The output paths of one command.

    Args:
        places: path by option; None if the option was not given.
        quiet: whether to print errors only.
        inputs: files that the command reads; none of them may be an output.

    Raises:
        InputError: a path cannot be written, or is used twice.
    """

    def __init__(
        self, places: Mapping[str, Path | None], quiet: bool = False, inputs: Iterable[Path] = ()
    ) -> None:
        self._places = {option: place for option, place in places.items() if place is not None}
        for option, place in self._places.items():
            _refuse_option(option, place)
            require_writable(place)
        _refuse_twice(self._places, inputs)
        # A text on standard output must be the only output there, for programs that read it.
        self.quiet = quiet or any(map(is_stdout, self._places.values()))
        self._written: list[Path] = []
        self._failures: list[str] = []

    def write(self, option: str, make: Callable[[], str | bytes]) -> None:
        """Write content to the path of an option, if the option was given.

        A failure does not prevent the other outputs; :meth:`finish` reports it.
        """
        place = self._places.get(option)
        if place is None:
            return
        content = make()
        try:
            if isinstance(content, bytes):
                write_bytes(place, content)
            else:
                write_text(place, content)
        except InputError as error:
            self._failures.append(str(error))
        else:
            self._written.append(place)

    def finish(self, interrupted: bool = False) -> None:
        """Print the paths that were written.

        Args:
            interrupted: whether Ctrl-C ends the command; failures are then printed, not raised.

        Raises:
            InputError: an output could not be written, and the command was not interrupted.
        """
        if not self.quiet:
            for place in self._written:
                echo(f"written: {place}")
        if self._failures and interrupted:
            echo(f"slide-deploy: {' '.join(self._failures)}", err=True)
        elif self._failures:
            raise InputError(" ".join(self._failures))


def _refuse_option(option: str, place: Path) -> None:
    """Refuse a path that is an option: ``--json`` was a flag in earlier versions."""
    if str(place).startswith("--"):
        raise InputError(
            f"{option} needs a file, or - for standard output, but {place} looks like an option."
        )


def _refuse_twice(places: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    known = {os.path.realpath(path): "is an input of this command" for path in inputs}
    for option, place in places.items():
        if not is_stdout(place) and place.exists() and not place.is_file():
            continue  # a device can receive several texts
        key = "-" if is_stdout(place) else os.path.realpath(place)
        if key in known:
            raise InputError(f"{option} {place} {known[key]}: give another file.")
        known[key] = f"is also the output of {option}"
