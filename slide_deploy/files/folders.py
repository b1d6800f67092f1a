"""Output folders: locks, and hidden folders to work in."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from slide_deploy.errors import InputError
from slide_deploy.files import scratch
from slide_deploy.process import interruption

# Attempts to create a folder that another process keeps removing because it is empty.
_TRIES = 10


@contextmanager
def working_folder(out: Path, option: str = "--out") -> Iterator[Path]:
    """Create a hidden folder in the output folder for the duration of a block.

    It is on the same file system as the output, so that its files can be renamed into place. At the
    end it is removed, even after an error; so are output folders that were created and are empty.
    Remains of killed processes are published or removed first.

    Args:
        out: the output folder; created if missing.
        option: name of its option, for the message.

    Raises:
        InputError: the output folder cannot be created or written to.
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
                with suppress(OSError):  # it is not empty, or was never created
                    folder.rmdir()


def require_writable_folder(out: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be created or written to, before any slow work.

    Raises:
        InputError: the folder cannot be created or written to.
    """
    with working_folder(out, option):
        pass


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, so that one process at a time changes its content. Others wait.

    Args:
        folder: an existing folder.

    Raises:
        OSError: the folder cannot be written to.
    """
    path = folder / scratch.LOCK
    with FileLock(path):
        try:
            yield
        finally:
            # Removed before it is unlocked: a waiting process notices that, and creates a new one.
            with interruption.held(), suppress(OSError):
                path.unlink(missing_ok=True)


@contextmanager
def shared_file(path: Path) -> Iterator[None]:
    """Lock a file that several processes change, while a block reads, changes and writes it.

    Args:
        path: path of the file; its folder is created if missing.
    """
    with ExitStack() as stack:
        # If the folder is unusable, writing reports it and saves the content elsewhere.
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(path.parent))
        yield


@contextmanager
def _scratch_in(out: Path, made: list[Path]) -> Iterator[Path]:
    """Create a hidden folder in ``out``; append folders that were missing to ``made``."""
    with ExitStack() as stack:
        for tries_left in reversed(range(_TRIES)):
            missing = [folder for folder in (out, *out.parents) if not folder.exists()]
            made += [folder for folder in missing if folder not in made]
            try:
                out.mkdir(parents=True, exist_ok=True)
                if scratch.has_unfinished_publication(out):
                    with locked(out):
                        scratch.sweep(out, complete=True)
                work = stack.enter_context(scratch.scratch_folder(out))
                break
            # Another process removed the empty folder; if it had just made it, it "exists".
            except (FileNotFoundError, FileExistsError):
                if not tries_left:
                    raise
        yield work
