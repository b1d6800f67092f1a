"""What a command writes beside what it prints: places tried first, texts at the end."""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.writing import is_stdout, require_writable, write_bytes, write_text
from slide_deploy.terminal.printable import say


class Outputs:
    """The places that the options of one command name.

    Args:
        places: by option; None where it was not given.
        quiet: whether the user wants nothing printed.
        inputs: files that the command reads; none of them may be a place.

    Raises:
        InputError: if a place cannot be written to, or serves twice.
    """

    def __init__(
        self, places: Mapping[str, Path | None], quiet: bool = False, inputs: Iterable[Path] = ()
    ) -> None:
        self._places = {option: place for option, place in places.items() if place is not None}
        for option, place in self._places.items():
            _refuse_option(option, place)
            require_writable(place)
        _refuse_twice(self._places, inputs)
        # A text on standard output stands there alone: whoever reads it expects nothing else.
        self.quiet = quiet or any(map(is_stdout, self._places.values()))
        self._written: list[Path] = []
        self._failures: list[str] = []

    def write(self, option: str, make: Callable[[], str | bytes]) -> None:
        """Write a text to the place of an option, if it was given.

        A place that fails does not stop the others; :meth:`finish` tells of it.
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
        """Say what was written.

        Args:
            interrupted: the command will end for that reason; what could not be written is told.

        Raises:
            InputError: if a text could not be written to its place, and nothing was interrupted.
        """
        if not self.quiet:
            for place in self._written:
                say(f"written: {place}")
        if self._failures and interrupted:
            say(f"slide-deploy: {' '.join(self._failures)}", err=True)
        elif self._failures:
            raise InputError(" ".join(self._failures))


def _refuse_option(option: str, place: Path) -> None:
    """``--json`` once was a flag: what follows it may be another option."""
    if str(place).startswith("--"):
        raise InputError(
            f"{option} needs a file, or - for standard output, and {place} looks like an option."
        )


def _refuse_twice(places: Mapping[str, Path], inputs: Iterable[Path]) -> None:
    known = {os.path.realpath(path): "is a file that is read" for path in inputs}
    for option, place in places.items():
        if not is_stdout(place) and place.exists() and not place.is_file():
            continue  # a device takes any number of texts
        key = "-" if is_stdout(place) else os.path.realpath(place)
        if key in known:
            raise InputError(f"{option} {place} {known[key]}: give it a place of its own.")
        known[key] = f"is where {option} goes, too"
