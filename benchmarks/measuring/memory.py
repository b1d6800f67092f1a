"""Resident memory of this process, as the operating system reports it."""

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def current() -> int | None:
    """Return the present bytes; None if the system does not report them."""
    return _status("VmRSS")


def peak() -> int | None:
    """Return the peak bytes so far; None if the system does not report them."""
    # On Linux, getrusage includes the peak of the parent process.
    if sys.platform == "linux":
        return _status("VmHWM")
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _status(field: str) -> int | None:
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    return None
