"""Files of a hidden folder take their places in the folder around it: all of them, or none.

1. ``planned.json`` lists the moves.
2. Where a place is a link into another folder, the new file is copied there under a hidden name.
3. ``planned.json`` becomes ``committed.json``, in one step. From here on the new files count.
4. All old files are set aside, in the order of the list.
5. All new files take their places, in the opposite order.
6. ``committed.json`` goes, and after it the old files.

If the process is killed before step 3, the old files stand untouched. If it is killed later,
``recover`` does the remaining steps. An error in steps 4 and 5 restores the old files. Old and new
files never stand side by side, and a file that vouches for others, as a manifest does, is listed
first: it is the first to go and the last to come. Standard library only.
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
    """What becomes of one name in the folder around the hidden one.

    Attributes:
        name: of the file or folder, without a path.
        is_new: whether a new one of that name is in the hidden folder; else the old one goes.
        hidden: a name that nobody else uses.
        is_far: whether the place is a link into another folder.
    """

    name: str
    is_new: bool
    hidden: str
    is_far: bool

    def target(self, folder: Path) -> Path:
        """Where the content stands at last."""
        place = folder.parent / self.name
        return Path(os.path.realpath(place)) if self.is_far else place

    def draft(self, folder: Path) -> Path:
        """Where the new content waits, on the file system of its place."""
        if self.is_far:
            return self.target(folder).with_name(f"{self.hidden}.new.tmp")
        return folder / self.name

    def aside(self, folder: Path) -> Path:
        """Where the old content waits."""
        if self.is_far:
            return self.target(folder).with_name(f"{self.hidden}.old.tmp")
        return folder / f"{self.hidden}.old.tmp"


def move_of(folder: Path, name: str, is_new: bool) -> Move:
    """The move of one name.

    Args:
        folder: the hidden one.
        name: in the folder around it; a link is followed.
        is_new: whether ``folder`` has the new content.
    """
    place = folder.parent / name
    hidden = f".slide-deploy-{secrets.token_hex(8)}"
    return Move(name, is_new, hidden, is_far=place.is_symlink())


def carry_out(folder: Path, moves: list[Move]) -> None:
    """Let the files of a hidden folder take their places.

    Args:
        folder: the hidden one.
        moves: the one that vouches for the others first.

    Raises:
        OSError: if one cannot; all places are as they were then.
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
    """Do what a killed process left undone; the hidden folder itself stays.

    Args:
        folder: the hidden one; nobody else works on it.

    Raises:
        OSError: if a file cannot take its place.
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
    """Whether a hidden folder has files that count already and are not all in their places."""
    return (folder / _COMMITTED).exists()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the system write a file, or a folder with all that is in it, to the disk.

    Raises:
        OSError: if it cannot: some systems say only now that the disk is full.
    """
    if path.is_dir():
        for each in path.iterdir():
            if not each.is_symlink():
                flush(each)
    _flush_one(path)


def _flush_one(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # Windows opens no folders, and flushes only what is open for writing
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
    """Put everything back, and forget the moves."""
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
            with suppress(OSError):  # the new files are in their places, which is what counts
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
    """What a file lists; nothing if it is missing or was not written by this module.

    A folder may come from a stranger: names that lead out of it are not believed, nor that an old
    file in another folder must go.
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
