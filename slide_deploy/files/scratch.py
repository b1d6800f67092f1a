"""Hidden folders beside results, in which files become whole before anybody sees them.

A process holds its folder by a lock, which the system frees when the process ends, however it ends.
The next process that writes there removes the folders that nobody holds. Standard library only:
bundles for other devices carry this module.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from slide_deploy.files import moves
from slide_deploy.process import interruption

PREFIX = ".slide-deploy-"
# Held by whoever changes what a folder holds; gone at other times, unless the holder was killed.
LOCK = ".slide-deploy.lock"
_HELD = ".held"

# How often a new folder is made again that somebody swept between its making and its locking.
_TRIES = 10


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty hidden folder in ``parent``; it is gone at the end whatever happens.

    Folders that killed processes left there go first.

    Args:
        parent: an existing folder.

    Raises:
        OSError: if the folder cannot be made.
    """
    folder: Path | None = None
    try:
        with interruption.held():
            sweep(parent)
            folder, held = _new(parent)
        yield folder
    finally:
        if folder is not None:
            with interruption.held():
                held.close()
                _drop(folder)


def temporary_folder() -> AbstractContextManager[Path]:
    """A folder for files that nobody asked for, where the system keeps such files."""
    return scratch_folder(Path(tempfile.gettempdir()))


def sweep(parent: Path, complete: bool = False) -> None:
    """Remove what processes that were killed left in a folder.

    Args:
        parent: may be missing.
        complete: let files that were being published take their places first; only for whoever
            keeps others from publishing there. They are left alone otherwise.

    Raises:
        OSError: if files that were being published cannot take their places.
    """
    _sweep_lock(parent / LOCK)
    for folder in _found(parent):
        if not _is_ours(folder):
            continue
        try:
            held = _hold(folder)
        except OSError:  # its process lives, or the file system knows no locks
            continue
        with held:
            if complete or not moves.are_committed(folder):
                moves.recover(folder)
        _drop(folder)


def _sweep_lock(path: Path) -> None:
    """Remove the lock of a folder that nobody holds."""
    with suppress(OSError):
        if path.exists():
            with path.open("r+b") as stream:
                _lock(stream)
                path.unlink()


def were_publishing(parent: Path) -> bool:
    """Whether a process was killed while its files took their places in a folder."""
    return any(_is_ours(folder) and moves.are_committed(folder) for folder in _found(parent))


def _found(parent: Path) -> list[Path]:
    try:
        return sorted(parent.glob(f"{PREFIX}*"))
    except OSError:  # it is missing, or may not be listed
        return []


def _is_ours(folder: Path) -> bool:
    """Whether a path is a folder of this user: what others put there says nothing to us."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return (
        folder.is_dir()
        and not folder.is_symlink()
        and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())
    )


def _new(parent: Path) -> tuple[Path, BinaryIO]:
    for tries_left in reversed(range(_TRIES)):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        try:
            return folder, _hold(folder)
        except (BlockingIOError, FileNotFoundError):  # somebody who sweeps was faster
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _hold(folder: Path) -> BinaryIO:
    """The lock file of a folder, locked.

    Raises:
        BlockingIOError: if another process holds it.
        OSError: if it cannot be opened.
    """
    path = folder / _HELD
    stream = path.open("ab")
    try:
        _lock(stream)
        # Whoever swept the folder meanwhile had the lock first.
        if not os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            raise BlockingIOError
    except BaseException:
        stream.close()
        raise
    return stream


def _lock(stream: BinaryIO) -> None:
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _drop(folder: Path) -> None:
    """Remove a folder, unless it still has what was to be published."""
    if not moves.are_committed(folder):
        shutil.rmtree(folder, ignore_errors=True)
