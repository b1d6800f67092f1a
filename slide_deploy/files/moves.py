"""Move all files of a hidden folder into the folder around it, or none of them.

1. ``planned.json`` lists the moves.
2. If a target is a symbolic link into another folder, the new file is copied there, with a hidden
   name.
3. ``planned.json`` is renamed to ``committed.json``, atomically. From here on the new files count.
4. All old files are set aside, in the order of the list.
5. All new files are moved to their final names, in the reverse order.
6. ``committed.json`` is removed, and then the old files.

If the process is killed before step 3, the old files are unchanged. If it is killed later,
``recover`` does the remaining steps. An error in step 4 or 5 restores the old files. Old and new
files are never mixed. A file that describes others, such as a manifest, comes first in the list: it
is the first to be removed and the last to appear. Standard library only.
"""

import json
import os
import secrets
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_PLANNED, _COMMITTED = "planned.json", "committed.json"


@dataclass(frozen=True)
class Move:
    """The replacement or removal of one file or folder.

    Attributes:
        name: name of the file or folder, without a path.
        is_new: whether the hidden folder has new content for it; otherwise the old one is removed.
        hidden: a unique name for temporary files.
        is_far: whether the target is a symbolic link into another folder.
    """

    name: str
    is_new: bool
    hidden: str
    is_far: bool

    def target(self, folder: Path) -> Path:
        """Return the final path of the content."""
        place = folder.parent / self.name
        return Path(os.path.realpath(place)) if self.is_far else place

    def draft(self, folder: Path) -> Path:
        """Return the path of the new content before the move, on the file system of the target."""
        if self.is_far:
            return self.target(folder).with_name(f"{self.hidden}.new.tmp")
        return folder / self.name

    def aside(self, folder: Path) -> Path:
        """Return the path of the old content after it is set aside."""
        if self.is_far:
            return self.target(folder).with_name(f"{self.hidden}.old.tmp")
        return folder / f"{self.hidden}.old.tmp"


def move_of(folder: Path, name: str, is_new: bool) -> Move:
    """Plan the move of one file or folder.

    Args:
        folder: the hidden folder.
        name: its name in the folder around the hidden one; a symbolic link is followed.
        is_new: whether ``folder`` has new content for it.
    """
    place = folder.parent / name
    hidden = f".slide-deploy-{secrets.token_hex(8)}"
    return Move(name, is_new, hidden, is_far=place.is_symlink())


def carry_out(folder: Path, moves: list[Move]) -> None:
    """Move the files of a hidden folder to their final names.

    Args:
        folder: the hidden folder.
        moves: the moves; a file that describes the others comes first.

    Raises:
        OSError: a move failed; all old files are restored.
    """
    planned, committed = folder / _PLANNED, folder / _COMMITTED
    try:
        _store(planned, moves)
        for move in moves:
            if move.is_new and move.is_far:
                _copy(folder / move.name, move.draft(folder))
            if move.is_new:
                flush(move.draft(folder))
        planned.rename(committed)
        _flush_one(folder)
        _complete(folder, moves)
    except BaseException:
        _restore(folder, moves)
        raise
    _finish(folder, moves)


def recover(folder: Path) -> None:
    """Finish the moves of a killed process; the hidden folder itself remains.

    Args:
        folder: the hidden folder, which no other process uses.

    Raises:
        OSError: a file cannot be moved.
    """
    if are_committed(folder):
        moves = _stored(folder / _COMMITTED)
        _complete(folder, moves)
        _finish(folder, moves)
        return
    for move in _stored(folder / _PLANNED):
        if move.is_far:
            remove(move.draft(folder))


def are_committed(folder: Path) -> bool:
    """Whether a hidden folder has committed moves that are not finished."""
    return (folder / _COMMITTED).exists()


def remove(path: Path) -> None:
    """Remove a file, a symbolic link, or a folder with its content."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file, or a folder with its content, to the disk.

    Raises:
        OSError: the flush failed; some systems report a full disk only here.
    """
    if path.is_dir():
        for each in path.iterdir():
            if not each.is_symlink():
                flush(each)
    _flush_one(path)


def _flush_one(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # Windows cannot open folders; it flushes only files that are open for writing
    descriptor = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complete(folder: Path, moves: list[Move]) -> None:
    waiting = [move for move in moves if not move.is_new or move.draft(folder).exists()]
    for move in waiting:
        target, aside = move.target(folder), move.aside(folder)
        if os.path.lexists(target) and not os.path.lexists(aside):
            target.rename(aside)
    for move in reversed(waiting):
        if move.is_new:
            move.draft(folder).rename(move.target(folder))


def _restore(folder: Path, moves: list[Move]) -> None:
    """Restore all old files and cancel the moves."""
    if are_committed(folder):
        for move in moves:
            target, draft, aside = move.target(folder), move.draft(folder), move.aside(folder)
            if move.is_new and not draft.exists() and target.exists():
                target.rename(draft)
            if os.path.lexists(aside):
                aside.rename(target)
        (folder / _COMMITTED).unlink()
    for move in moves:
        if move.is_far:
            remove(move.draft(folder))


def _finish(folder: Path, moves: list[Move]) -> None:
    for move in moves:
        if move.is_far:
            with suppress(OSError):  # the new files are in place already
                remove(move.aside(folder))
    (folder / _COMMITTED).unlink()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _store(path: Path, moves: list[Move]) -> None:
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps([asdict(move) for move in moves]), encoding="ascii")
    flush(draft)
    draft.rename(path)


def _stored(path: Path) -> list[Move]:
    """Read a list of moves; it is empty if the file is missing or not valid.

    The folder may come from an untrusted source. So a list with names that lead out of the folder
    is rejected, and moves that would remove a file in another folder are dropped.
    """
    try:
        moves = [Move(**each) for each in json.loads(path.read_text(encoding="ascii"))]
        sound = all(
            Path(name).name == name and name not in ("", ".", "..")
            for move in moves
            for name in (move.name, move.hidden)
        )
    except (OSError, ValueError, TypeError, RecursionError):
        return []
    return [move for move in moves if move.is_new or not move.is_far] if sound else []
