"""Writing of results: files are replaced atomically, other destinations are written in place.

=============================================  ===================================================
a file, or a new path                          a draft beside it replaces it atomically
a symbolic link                                remains; its target is written
a pipe, a device, ``/dev/stdout``, ``>(…)``    is written in place, never replaced
``-``                                          standard output
=============================================  ===================================================

Standard library only, because bundles for other devices contain this module.
"""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from slide_deploy.errors import InputError
from slide_deploy.files.moves import flush
from slide_deploy.files.scratch import scratch_folder, temporary_folder

STDOUT = Path("-")

# A longer chain of symbolic links is a loop; operating systems use the same limit.
_MOST_LINKS = 40


def is_stdout(path: Path) -> bool:
    """Whether a path means standard output."""
    return path == STDOUT or _descriptor(path) == 1


def require_writable(path: Path | None) -> None:
    """Refuse a path that cannot be written, before any slow work.

    For a file, the check creates and removes a temporary file in its folder. A pipe is not opened,
    because its reader would take the close for the end.

    Args:
        path: the path to check; nothing is checked if it is None.

    Raises:
        InputError: the path cannot be written.
    """
    if path is None:
        return
    try:
        obstacle = _obstacle(path)
    except OSError as error:
        obstacle = error.strerror
    if obstacle:
        raise InputError(
            f"{path} cannot be written ({obstacle}): give a file in an existing folder that you "
            f"can write to."
        )


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; see :func:`write_bytes`."""
    # An invalid file name in the text must not prevent writing.
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes to a file atomically, or to a pipe or device in place.

    Raises:
        InputError: the bytes cannot be written. They are saved elsewhere if possible, and the
            message names the path.
    """
    try:
        if _replaceable(path) is None:
            with _opened_in_place(path) as sink:
                sink.write(content)
        else:
            with draft_of(path) as draft:
                draft.write_bytes(content)
    except OSError as error:
        reason, fate = error.strerror or error, _saved_elsewhere(path, content)
        name = "standard output" if path == STDOUT else path
        raise InputError(f"{name} cannot be written ({reason}): {fate}.") from error


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Return a draft file for a block to write; at the end its content replaces ``path``.

    If the block raises, ``path`` is unchanged. The draft is removed in either case.

    Raises:
        OSError: the draft cannot be created, or ``path`` cannot be written.
    """
    target = _replaceable(path)
    if target is None or not _takes_files(target.parent):
        with temporary_folder() as folder:
            draft = folder / "draft"
            yield draft
            _copy_into(path, draft)
        return
    # In the same folder, because a rename is atomic only within one file system.
    with scratch_folder(target.parent) as folder:
        draft = folder / target.name
        yield draft
        if target.exists():
            shutil.copymode(target, draft)
        flush(draft)  # a full disk must be noticed before the old file is replaced
        try:
            draft.replace(target)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _copy_into(path, draft)  # the file is a mount point, as in a container


def _obstacle(path: Path) -> str | None:
    """Return why a path cannot be written; None if nothing prevents it."""
    if is_stdout(path) and sys.stdout is None:
        return "it is closed"
    if path == STDOUT:
        return None
    number = _descriptor(path)
    if number is not None:
        return _obstacle_of_descriptor(number)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = None
    if mode is None:
        folder = Path(os.path.realpath(path)).parent
        if not folder.is_dir():
            return "its folder is missing"
        _try_folder(folder)
        return None
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if stat.S_ISSOCK(mode):
        return "it is a socket"
    return None if os.access(path, os.W_OK) else "it is write-protected"


def _obstacle_of_descriptor(number: int) -> str | None:
    import fcntl  # exists on every system whose paths name descriptors

    flags = fcntl.fcntl(number, fcntl.F_GETFL)
    return "it is open for reading only" if flags & os.O_ACCMODE == os.O_RDONLY else None


def _descriptor(path: Path) -> int | None:
    """Return the file descriptor that a path names (``/dev/stdout``, ``/dev/fd/63``), or None."""
    folders = ("/dev/fd", f"/proc/{os.getpid()}/fd")
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in folders:
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _replaceable(path: Path) -> Path | None:
    """Return the file, existing or new, that a path leads to; None if it is not a file."""
    if path == STDOUT or _descriptor(path) is not None:
        return None
    target = Path(os.path.realpath(path))
    return target if target.is_file() or not target.exists() else None


def _takes_files(folder: Path) -> bool:
    try:
        _try_folder(folder)
    except OSError:
        return False
    return True


def _try_folder(folder: Path) -> None:
    """Create a temporary file in a folder; raises OSError if that fails."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def _copy_into(path: Path, source: Path) -> None:
    with source.open("rb") as content, _opened_in_place(path) as sink:
        shutil.copyfileobj(content, sink, 1 << 20)


@contextmanager
def _opened_in_place(path: Path) -> Iterator[BinaryIO]:
    number = 1 if path == STDOUT else _descriptor(path)
    if number == 1:
        sys.stdout.flush()  # earlier output comes first
        try:
            number = sys.stdout.fileno()
        except OSError:  # standard output is captured in this process
            yield sys.stdout.buffer
            sys.stdout.flush()
            return
    if number is not None:
        descriptor = os.dup(number)
    else:
        # No O_CREAT: a device that has gone must not be recreated as a file.
        descriptor = os.open(path, os.O_WRONLY | (os.O_TRUNC if path.is_file() else 0))
    with os.fdopen(descriptor, "wb") as stream:
        yield stream


def _saved_elsewhere(path: Path, content: bytes) -> str:
    """Save content that could not be written; return a clause with its path."""
    name = "output" if path == STDOUT else path.name
    for folder in (tempfile.gettempdir(), os.getcwd(), os.path.expanduser("~")):
        try:
            place = Path(tempfile.mkdtemp(prefix="slide-deploy-", dir=folder))
        except OSError:
            continue
        try:
            (place / name).write_bytes(content)
        except OSError:
            shutil.rmtree(place, ignore_errors=True)  # a partial file is useless
            continue
        return f"the content is kept in {place / name}"
    return "free some disk space and try again"
