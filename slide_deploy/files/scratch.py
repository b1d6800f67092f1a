"""Hidden folders beside results, in which files are completed before they are published.

A process locks its folder, and the system releases the lock when the process ends for any reason.
The next process that writes there removes unlocked folders. Standard library only, because bundles
for other devices contain this module.
"""

import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from slide_deploy.files import moves
from slide_deploy.process import interruption

PREFIX = ".slide-deploy-"
# Lock of an output folder. The file exists only while it is held, or if its holder was killed.
LOCK = ".slide-deploy.lock"
_HELD = ".held"

# Open lock files of the folders that this process holds.
_OPEN: weakref.WeakSet[BinaryIO] = weakref.WeakSet()

# Attempts to create a folder that another process sweeps before it is locked.
_TRIES = 10


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Create an empty hidden folder in ``parent`` for the duration of a block.

    It is removed at the end, even after an error. Folders of killed processes are removed first.

    Args:
        parent: an existing folder.

    Raises:
        OSError: the folder cannot be created.
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
    """Create a hidden folder in the system's temporary folder for the duration of a block."""
    return scratch_folder(Path(tempfile.gettempdir()))


@contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """A block in which Python keeps temporary files, those of libraries included, in a folder.

    So what a killed process leaves of them goes with that folder.

    Args:
        folder: made here; whoever made the one around it removes it.
    """
    folder.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        yield
    finally:
        # Another thread may have been in such a block, and its folder may be gone.
        is_there = before is not None and os.path.isdir(before)
        tempfile.tempdir = before if is_there else None


def sweep(parent: Path, complete: bool = False) -> None:
    """Remove the hidden folders that killed processes left in a folder.

    Args:
        parent: the folder; it may be missing.
        complete: finish interrupted publications first. This requires the lock of the folder.
            Otherwise they are left as they are.

    Raises:
        OSError: an interrupted publication cannot be finished.
    """
    _sweep_lock(parent / LOCK)
    for folder in _found(parent):
        if not _is_ours(folder):
            continue
        try:
            held = _hold(folder)
        except OSError:  # its process is running, or the file system has no locks
            continue
        with held:
            if complete or not moves.are_committed(folder):
                moves.recover(folder)
        _drop(folder)


def _sweep_lock(path: Path) -> None:
    """Remove the lock file of a folder, unless a process holds it."""
    with suppress(OSError):
        if path.exists():
            with path.open("r+b") as stream:
                _lock(stream)
                path.unlink()


def has_unfinished_publication(parent: Path) -> bool:
    """Whether a process was killed while it published files in a folder."""
    return any(_is_ours(folder) and moves.are_committed(folder) for folder in _found(parent))


def _found(parent: Path) -> list[Path]:
    try:
        return sorted(parent.glob(f"{PREFIX}*"))
    except OSError:  # it is missing, or not readable
        return []


def _is_ours(folder: Path) -> bool:
    """Whether a path is a folder of this user; folders of other users are not trusted."""
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
        except (BlockingIOError, FileNotFoundError):  # another process swept it first
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


def _hold(folder: Path) -> BinaryIO:
    """Lock a folder and return its open lock file.

    Raises:
        BlockingIOError: another process has the lock.
        OSError: the lock file cannot be opened.
    """
    path = folder / _HELD
    stream = path.open("ab")
    _OPEN.add(stream)
    try:
        _lock(stream)
        # Another process may have had the lock before and swept the folder.
        if not os.path.samestat(os.fstat(stream.fileno()), path.stat()):
            raise BlockingIOError
    except BaseException:
        stream.close()
        raise
    return stream


def _close_in_child() -> None:
    """Give up the locks in a process that a library forked, and which may outlive this one.

    OpenVINO forks one for each report to its makers, which waits for the network.
    """
    for stream in list(_OPEN):
        stream.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


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
    """Remove a folder, unless its publication is unfinished."""
    if not moves.are_committed(folder):
        shutil.rmtree(folder, ignore_errors=True)
