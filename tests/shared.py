"""What several tests need and takes seconds to make: made once for all test processes."""

import hashlib
import pickle
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

Made = TypeVar("Made")

_root: Path | None = None


def share_in(folder: Path) -> None:
    """Choose the folder of everything shared; the processes of one run of the tests share it."""
    global _root
    _root = folder


def once(key: object, make: Callable[[Path], Made]) -> Made:
    """What ``make`` gives for an empty folder; the first process that asks calls it.

    Others wait until it is done, then read what it gave. The files in the folder are everybody's: a
    test that changes one makes a copy first. They live as long as a run of the tests, in which the
    code does not change, so that the key need not name the code.

    Args:
        key: tells what is made from everything else that is; its ``repr`` does.
        make: writes files; gives what ``pickle`` can store.
    """
    folder = _shared() / hashlib.sha256(repr(key).encode()).hexdigest()[:16]
    answer = folder / "answer.pickle"
    with FileLock(folder.with_suffix(".lock")):
        if not answer.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a call that failed
            files = folder / "files"
            files.mkdir(parents=True)
            partial = answer.with_suffix(".partial")
            partial.write_bytes(pickle.dumps(make(files)))
            partial.rename(answer)
        return pickle.loads(answer.read_bytes())


def _shared() -> Path:
    return _root or Path(_temporary().name)


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    """Outside pytest: a folder that goes with the process."""
    return tempfile.TemporaryDirectory(prefix="slide-deploy-tests-")
