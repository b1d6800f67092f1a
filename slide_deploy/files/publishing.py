"""Publication: verified files move to their final names together, or not at all.

Two exports may use one output folder at the same time. Each publishes while the other waits, and
checks the folder again: see ``refuse_occupied`` and ``exporters.manifest.entries_beside``.
"""

import errno
import os
import stat
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files import scratch
from slide_deploy.files.folders import locked, working_folder
from slide_deploy.files.moves import carry_out, move_of
from slide_deploy.process import interruption


def refuse_occupied(
    paths: Sequence[Path],
    force: bool,
    option: str = "--out",
    optional: Collection[Path] = (),
) -> None:
    """Refuse final names that exist already.

    Args:
        paths: the final names; symbolic links are followed.
        force: allow existing files and folders, which will be replaced. Pipes, sockets and devices
            are always refused.
        option: name of the option that chooses the final names, for the message.
        optional: those of the paths that are removed if no new file has their name.

    Raises:
        InputError: a name exists.
    """
    for path in paths:
        twin = _twin(path)
        if twin is not None:
            raise InputError(
                f"{path} differs only in case from {twin} there, and many systems keep only one of "
                f"the two: rename the input, or give another {option}."
            )
        _refuse_loop(path, option)
        if not path.exists():
            continue
        if not (path.is_file() or path.is_dir()):
            raise InputError(
                f"{path} is {_kind(path)}, which is not replaced: remove it, or give another "
                f"{option}."
            )
        if not force:
            change = "replace or remove" if path in optional else "replace"
            raise InputError(f"{path} exists: give --force to {change} it, or another {option}.")


def refuse_inputs(paths: Iterable[Path], inputs: Sequence[Path], option: str = "--out") -> None:
    """Refuse final names of files that are being read, also with ``--force``.

    Args:
        paths: the final names.
        inputs: the files that are read.
        option: name of the option that chooses the final names, for the message.

    Raises:
        InputError: a name is one of them.
    """
    for path in paths:
        if path.exists() and any(each.exists() and path.samefile(each) for each in inputs):
            raise InputError(f"{path} is part of the network that is read: give another {option}.")


def require_names(out: Path, names: Iterable[str], option: str = "--out") -> None:
    """Refuse names that a folder cannot hold, before any slow work.

    The check creates an empty file for each name, because file systems differ in the length and the
    bytes that they allow.

    Args:
        out: the folder; created temporarily if missing.
        names: names of all files that will be written there.
        option: name of the folder's option, for the message.

    Raises:
        InputError: the folder cannot be written to, or cannot hold a name.
    """
    _refuse_invalid_utf8(out)
    _refuse_loop(out, option)
    with working_folder(out, option) as work:
        for name in dict.fromkeys(names):
            _refuse_invalid_utf8(Path(name))
            try:
                (work / name).touch()
            except OSError as error:
                raise InputError(
                    f"{out} cannot hold a file named {name} ({error.strerror}): rename the input, "
                    f"from which it gets its name, or give another {option}."
                ) from error


def _refuse_invalid_utf8(path: Path) -> None:
    """Refuse a path that is not valid UTF-8, because converters and runtimes need text."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        readable = os.fsencode(path).decode("utf-8", "replace")
        raise InputError(f"The name {readable} is not valid UTF-8: rename it.") from error


def _twin(path: Path) -> str | None:
    """Return the name of another file that is the same name on macOS or Windows; else None."""
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
        if error.errno == errno.ELOOP:
            raise InputError(
                f"{path} is a symbolic link that leads to itself: remove it, or give another "
                f"{option}."
            ) from error


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


class Publication:
    """Files of a folder that are replaced or removed together.

    Args:
        work: the hidden folder with the new content, under the final names.
    """

    def __init__(self, work: Path) -> None:
        self._work = work
        self._is_new: dict[str, bool] = {}

    def clear(self, name: str) -> None:
        """Remove the file or folder with this name, unless new content replaces it."""
        self._is_new.setdefault(name, False)

    def put(self, name: str) -> None:
        """Publish the file or folder with this name; a symbolic link at the target is followed."""
        self._is_new[name] = True

    def complete(self) -> None:
        """Do all moves. The last name describes the others: it is removed first and appears last.

        Raises:
            OSError: a move failed; all old files are restored.
        """
        names = reversed(self._is_new.items())
        carry_out(self._work, [move_of(self._work, name, is_new) for name, is_new in names])


@contextmanager
def publication(work: Path) -> Iterator[Publication]:
    """Publish from a hidden folder into the folder around it, with the folder locked.

    All files move at the end of the block, or none if the block raises. Ctrl-C takes effect after
    that, so that files and manifest always agree. If the process is killed, the next one that
    writes into the folder finishes the publication.

    Args:
        work: the folder that ``working_folder`` returned.

    Raises:
        OSError: a move failed.
    """
    out = work.parent
    with locked(out), interruption.held():
        scratch.sweep(out, complete=True)
        moves = Publication(work)
        yield moves
        moves.complete()
