"""Where results go: files that are replaced as a whole, and everything else that can be written to.

=============================================  ===================================================
a file, or nothing yet                         a draft beside it takes its place in one step
a symbolic link                                stays; what it points to is written
a pipe, a device, ``/dev/stdout``, ``>(…)``    is written in place, never replaced
``-``                                          standard output
=============================================  ===================================================

Standard library only: bundles for other devices carry this module.
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

# A chain of links that is longer is a circle, as for the system.
_MOST_LINKS = 40


def is_stdout(path: Path) -> bool:
    """Whether what is written there goes to standard output."""
    return path == STDOUT or _descriptor(path) == 1


def require_writable(path: Path | None) -> None:
    """Refuse a place that cannot be written to, before minutes are spent on what goes there.

    A file is tried by making another one in its folder, which is gone at once. A pipe is not
    opened: whoever reads it would take that for the end.

    Raises:
        InputError: if the place cannot be written to.
    """
    if path is None:
        return
    try:
        obstacle = _obstacle(path)
    except OSError as error:
        obstacle = error.strerror
    if obstacle:
        raise InputError(
            f"{path} cannot be written ({obstacle}): name a file in a folder that exists and can "
            f"be written to."
        )


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8; see :func:`write_bytes`."""
    # A path that is no valid text on its own system must not stop the rest.
    write_bytes(path, text.encode("utf-8", "replace"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write some bytes as a whole or not at all; a pipe or a device takes what it takes.

    Raises:
        InputError: if they cannot be written. They are saved elsewhere then, and the text says
            where.
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
    """A file to write in place of ``path``, which gets its content at the end of the block.

    If the block raises, ``path`` stays as it was. The draft is gone in either case.

    Raises:
        OSError: if the draft cannot be made, or ``path`` cannot be written.
    """
    target = _replaceable(path)
    if target is None or not _takes_files(target.parent):
        with temporary_folder() as folder:
            draft = folder / "draft"
            yield draft
            _copy_into(path, draft)
        return
    # In the same folder: a rename is atomic within one file system only.
    with scratch_folder(target.parent) as folder:
        draft = folder / target.name
        yield draft
        if target.exists():
            shutil.copymode(target, draft)
        flush(draft)  # a full disk must be seen before the old file goes
        try:
            draft.replace(target)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            _copy_into(path, draft)  # it is mounted on its own, as in a container


def _obstacle(path: Path) -> str | None:
    """Why a place cannot be written to; None if it can, as far as one can tell."""
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
    import fcntl  # where paths name descriptors, there is this module

    flags = fcntl.fcntl(number, fcntl.F_GETFL)
    return "it is open for reading only" if flags & os.O_ACCMODE == os.O_RDONLY else None


def _descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path names, as ``/dev/stdout`` and ``/dev/fd/63``."""
    folders = ("/dev/fd", f"/proc/{os.getpid()}/fd")
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) in folders:
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def _replaceable(path: Path) -> Path | None:
    """The file that a path leads to, which may not exist yet; None for all but files."""
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
    """Make a file without a name in a folder; OSError if that is impossible."""
    with tempfile.TemporaryFile(dir=folder):
        pass


def _copy_into(path: Path, source: Path) -> None:
    with source.open("rb") as content, _opened_in_place(path) as sink:
        shutil.copyfileobj(content, sink, 1 << 20)


@contextmanager
def _opened_in_place(path: Path) -> Iterator[BinaryIO]:
    number = 1 if path == STDOUT else _descriptor(path)
    if number == 1:
        sys.stdout.flush()  # what was printed before comes first
        try:
            number = sys.stdout.fileno()
        except OSError:  # it is captured inside this process
            yield sys.stdout.buffer
            sys.stdout.flush()
            return
    if number is not None:
        descriptor = os.dup(number)
    else:
        # Nothing is created here: a device that went away must not come back as a file.
        descriptor = os.open(path, os.O_WRONLY | (os.O_TRUNC if path.is_file() else 0))
    with os.fdopen(descriptor, "wb") as stream:
        yield stream


def _saved_elsewhere(path: Path, content: bytes) -> str:
    """Keep what has no other place; returns a clause that says where."""
    name = "output" if path == STDOUT else path.name
    for folder in (tempfile.gettempdir(), os.getcwd(), os.path.expanduser("~")):
        try:
            place = Path(tempfile.mkdtemp(prefix="slide-deploy-", dir=folder))
        except OSError:
            continue
        try:
            (place / name).write_bytes(content)
        except OSError:
            shutil.rmtree(place, ignore_errors=True)  # half of it helps nobody
            continue
        return f"what was to be written is kept in {place / name}"
    return "make room and try again"
