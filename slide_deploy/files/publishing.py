"""Moves what is proved to its final names: all of it, or nothing.

Two exports may work on one folder at once. Each publishes while the other waits, and looks again at
what is there: see ``refuse_occupied`` and ``exporters.manifest.entries_beside``.
"""

import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files import scratch
from slide_deploy.files.folders import locked, working_folder
from slide_deploy.files.moves import carry_out, move_of
from slide_deploy.process import interruption


def refuse_occupied(paths: Sequence[Path], force: bool) -> None:
    """Refuse final names that are taken.

    Args:
        paths: the final names; symbolic links are followed.
        force: allow files and folders, which will be replaced. Nothing else ever is.

    Raises:
        InputError: if one is taken.
    """
    for path in paths:
        twin = _twin(path)
        if twin is not None:
            raise InputError(
                f"{path} differs only in case from {twin} there, and many systems would keep one "
                f"of the two: rename the input, or give another --out."
            )
        _refuse_loop(path, "--out")
        if not path.exists():
            continue
        if not (path.is_file() or path.is_dir()):
            raise InputError(
                f"{path} is {_kind(path)}, which is not replaced: remove it, or give another --out."
            )
        if not force:
            raise InputError(f"{path} exists: give --force to replace it, or another --out.")


def require_names(out: Path, names: Iterable[str], option: str = "--out") -> None:
    """Refuse names that a folder cannot hold, before minutes are spent on what has them.

    The file system is asked, with an empty file of each name: systems differ in how long a name
    may be, and in which bytes it may have.

    Args:
        out: the folder; made for the moment if it is missing.
        names: of all that will be written there.
        option: that the folder was given to, for the sentence.

    Raises:
        InputError: if the folder cannot be written to, or a name is impossible there.
    """
    _refuse_unreadable(out)
    _refuse_loop(out, option)
    with working_folder(out, option) as work:
        for name in dict.fromkeys(names):
            _refuse_unreadable(Path(name))
            try:
                (work / name).touch()
            except OSError as error:
                raise InputError(
                    f"{out} cannot hold a file called {name} ({error.strerror}): rename the input, "
                    f"whose name it has, or give another {option}."
                ) from error


def _refuse_unreadable(path: Path) -> None:
    """Refuse a path that is no text: converters and runtimes write and open text."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        readable = os.fsencode(path).decode("utf-8", "replace")
        raise InputError(f"The name {readable} is not valid UTF-8: rename it.") from error


def _twin(path: Path) -> str | None:
    """The name of another file there that macOS or Windows take for the same; None without one."""
    try:
        names = os.listdir(path.parent)
    except OSError:
        return None
    alike = [name for name in names if _folded(name) == _folded(path.name)]
    return alike[0] if alike and path.name not in alike else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _refuse_loop(path: Path, option: str) -> None:
    try:
        path.stat()
    except OSError as error:
        if path.is_symlink() and not isinstance(error, FileNotFoundError):
            raise InputError(
                f"{path} is a symbolic link that leads to itself: remove it, or give another "
                f"{option}."
            ) from error


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


class Publication:
    """Names in a folder that get their content, or lose it, together.

    Args:
        work: the hidden folder that holds the new content, under the final names.
    """

    def __init__(self, work: Path) -> None:
        self._work = work
        self._is_new: dict[str, bool] = {}

    def clear(self, name: str) -> None:
        """Take away what stands at a name, unless something new takes its place."""
        self._is_new.setdefault(name, False)

    def put(self, name: str) -> None:
        """Move a file or folder to the name that it has; a symbolic link there stays."""
        self._is_new[name] = True

    def complete(self) -> None:
        """Move everything. What was named last vouches for the rest: it goes first, comes last.

        Raises:
            OSError: if something cannot be moved; everything is as it was then.
        """
        names = reversed(self._is_new.items())
        carry_out(self._work, [move_of(self._work, name, is_new) for name, is_new in names])


@contextmanager
def publication(work: Path) -> Iterator[Publication]:
    """Publish from a hidden folder into the one around it, while nobody else does.

    Everything moves at the end of the block, and nothing if it raises. Ctrl-C waits for that end:
    files and manifest always agree. If the process is killed, the next one that writes there
    completes what had begun.

    Args:
        work: what ``working_folder`` gave.

    Raises:
        OSError: if something cannot be moved.
    """
    out = work.parent
    with locked(out), interruption.held():
        scratch.sweep(out, complete=True)
        moves = Publication(work)
        yield moves
        moves.complete()
