"""Folders that results are written into."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from slide_deploy.errors import InputError
from slide_deploy.files import scratch
from slide_deploy.process import interruption

# How often a folder is made again that another process removed, since it was empty.
_TRIES = 10


@contextmanager
def working_folder(out: Path, option: str = "--out") -> Iterator[Path]:
    """A hidden folder on the same file system as the output, gone at the end whatever happens.

    Output folders that were made for it and stay empty go too. What a killed process left there is
    completed or removed first.

    Args:
        out: the output folder; made if missing.
        option: that it was given to, for the sentence.

    Raises:
        InputError: if the output folder cannot be made or written to.
    """
    made: list[Path] = []
    place = Path(os.path.realpath(out))
    try:
        with ExitStack() as stack:
            with interruption.held():
                work = stack.enter_context(_scratch_in(place, made))
            yield work
    except OSError as error:
        raise InputError(
            f"{out} cannot be written to ({error.strerror or error}): check {option}."
        ) from error
    finally:
        with interruption.held():
            for folder in made:  # the innermost first
                with suppress(OSError):  # it holds what was published, or was never made
                    folder.rmdir()


def require_writable_folder(out: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be made or written to, before minutes are spent.

    Raises:
        InputError: if it cannot.
    """
    with working_folder(out, option):
        pass


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one process at a time change what a folder holds; others wait.

    Args:
        folder: exists.

    Raises:
        OSError: if the folder cannot be written to.
    """
    path = folder / scratch.LOCK
    with FileLock(path):
        try:
            yield
        finally:
            # While it is held: whoever waits for it sees that it is gone, and makes another one.
            with interruption.held(), suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def shared_file(path: Path) -> Iterator[None]:
    """A block that reads, changes and writes a file which other processes change as well.

    Args:
        path: of the file; its folder is made if it is missing.
    """
    with ExitStack() as stack:
        # Writing says what is wrong with the folder, and keeps the content elsewhere.
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.parent))
        yield


@contextmanager
def _scratch_in(out: Path, made: list[Path]) -> Iterator[Path]:
    """A hidden folder in ``out``; adds to ``made`` what was missing, the innermost first."""
    with ExitStack() as stack:
        for tries_left in reversed(range(_TRIES)):
            missing = [folder for folder in (out, *out.parents) if not folder.exists()]
            made += [folder for folder in missing if folder not in made]
            try:
                out.mkdir(parents=True, exist_ok=True)
                if scratch.were_publishing(out):
                    with locked(out):
                        scratch.sweep(out, complete=True)
                work = stack.enter_context(scratch.scratch_folder(out))
                break
            except FileNotFoundError:  # another process found it empty, and removed it
                if not tries_left:
                    raise
        yield work
