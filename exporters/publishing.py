"""Moves what is proved to its final names: all of it, or nothing.

Two exports may work on one folder at once. Each publishes while the other waits, and looks again at
what is there: see ``refuse_occupied`` and ``exporters.manifest.entries_beside``.
"""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from slide_deploy.errors import InputError
from slide_deploy.files.folders import locked
from slide_deploy.files.writing import hidden_sibling
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
        if not path.exists():
            continue
        if not (path.is_file() or path.is_dir()):
            raise InputError(
                f"{path} is {_kind(path)}, which is not replaced: remove it, or give another --out."
            )
        if not force:
            raise InputError(f"{path} exists: give --force to replace it, or another --out.")


def _kind(path: Path) -> str:
    mode = path.stat().st_mode
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


class Publication:
    """Final names that get their content, or lose it, together."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._old: list[Path] = []

    def clear(self, final: Path) -> None:
        """Take away what stands at a final name; it is gone once the publication is complete."""
        target = Path(os.path.realpath(final))
        if not target.exists():
            return
        old = hidden_sibling(target)
        target.rename(old)
        self._undo.callback(old.rename, target)
        self._old.append(old)

    def put(self, source: Path, final: Path) -> None:
        """Move a file or folder to a final name; a symbolic link there stays, and leads to it.

        Args:
            source: to move.
            final: where to.
        """
        target = Path(os.path.realpath(final))
        # What a link points to may lie on another file system, where a move is a copy.
        draft = hidden_sibling(target)
        self._undo.callback(remove, draft)
        shutil.move(source, draft)
        self.clear(final)
        draft.rename(target)
        self._undo.callback(remove, target)

    def complete(self) -> None:
        """Keep what was put, and drop what stood there before."""
        self._undo.pop_all()
        for old in self._old:
            remove(old)

    def roll_back(self) -> None:
        """Restore every final name as it was."""
        self._undo.close()


@contextmanager
def publication(out: Path) -> Iterator[Publication]:
    """Publish into a folder while nobody else does; a block that raises leaves it as it was.

    Ctrl-C waits for the end of the block: files and manifest always agree.

    Args:
        out: the folder; it exists.

    Raises:
        OSError: if something cannot be moved.
    """
    with locked(out), interruption.held():
        moves = Publication()
        try:
            yield moves
        except BaseException:
            moves.roll_back()
            raise
        moves.complete()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
