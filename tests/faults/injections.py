"""What goes wrong: each of these makes a fault for ``running.run``, or a place that has one."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from tests.faults.running import Fault

# Events of the audit of Python that change what a folder holds, each with its path first.
_CHANGES = frozenset(
    ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
)
_WRITES = os.O_WRONLY | os.O_RDWR


def at_each_change(folder: Path, states: Path, number: signal.Signals, trigger: str) -> Fault:
    """End the process before each change that it makes in a folder, from a certain one on.

    At the first change whose path has ``trigger`` in its name the process forks again and again:
    the first child receives the signal before its first change, the second one before its second,
    and so on, until one ends by itself. What each leaves in the folder is copied to ``states``,
    with its exit code.
    """
    state: dict[str, Any] = {"countdown": None, "busy": False, "started": False}

    def split() -> None:
        original = states / "original"
        shutil.copytree(folder, original, symlinks=True)
        for step in count():
            child = os.fork()
            if not child:
                state["countdown"] = step
                return
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            shutil.copytree(folder, states / str(step), symlinks=True)
            (states / f"{step}.code").write_text(str(code))
            _refill(folder, original)
            if code in (0, 1):
                shutil.rmtree(original)
                os._exit(0)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if state["busy"] or not _changes(event, arguments, folder):
            return
        if not state["started"]:
            if trigger not in os.fsdecode(arguments[0]):
                return
            state["started"] = state["busy"] = True
            split()
            state["busy"] = False
        if state["countdown"] == 0:
            state["countdown"] = None
            os.kill(os.getpid(), number)
        elif state["countdown"] is not None:
            state["countdown"] -= 1

    def fault() -> None:
        states.mkdir()
        sys.addaudithook(hook)
        fsync = os.fsync
        # Python audits no flushing.
        os.fsync = lambda descriptor: (hook("os.truncate", (folder,)), fsync(descriptor))[1]

    return fault


def _changes(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    if event == "open":
        if not isinstance(arguments[2], int) or not arguments[2] & _WRITES:
            return False
    elif event not in _CHANGES:
        return False
    if not isinstance(arguments[0], str | bytes | os.PathLike):
        return False
    path = os.fsdecode(arguments[0])
    # What removes a tree names files in a folder that is open.
    return not os.path.isabs(path) or path.startswith(str(folder))


def _refill(folder: Path, original: Path) -> None:
    for each in folder.iterdir():
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink()
    shutil.copytree(original, folder, symlinks=True, dirs_exist_ok=True)


def file_size(most: int) -> Fault:
    """Let no file grow larger than some bytes."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def memory(more: int) -> Fault:
    """Give the process only so many bytes of memory more than it has."""

    def fault() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

    return fault


def replaced(module: str, name: str, make: Callable[[Any], Any]) -> Fault:
    """Put something else in the place of a function."""

    def fault() -> None:
        from importlib import import_module

        owner = import_module(module)
        for part in name.split(".")[:-1]:
            owner = getattr(owner, part)
        last = name.split(".")[-1]
        setattr(owner, last, make(getattr(owner, last)))

    return fault


def clock(seconds: Iterator[float]) -> Fault:
    """Let the clock say one time after the other."""

    def fault() -> None:
        time.time = lambda: next(seconds)
        time.time_ns = lambda: int(next(seconds) * 1e9)

    return fault


def ordinary_user() -> None:
    """Give up what lets the superuser write everywhere; for anybody else, nothing changes."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    nothing = (ctypes.c_uint32 * 6)()
    if libc.capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


@contextmanager
def small_disk(folder: Path, free: int) -> Iterator[None]:
    """A file system of its own at a folder, with so many bytes free; it keeps what is there.

    Only in a mount namespace of one's own, see ``__main__``.
    """
    kept = folder.with_name("kept")
    shutil.copytree(folder, kept, symlinks=True)
    _mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", folder)
    try:
        shutil.copytree(kept, folder, symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(kept)
        left = os.statvfs(folder)
        used = (left.f_blocks - left.f_bfree) * left.f_frsize
        _mount("-o", f"remount,size={used + free}", folder)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder on a file system that is mounted for reading only."""
    _mount("--bind", folder, folder)
    try:
        _mount("-o", "remount,bind,ro", folder)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True)
