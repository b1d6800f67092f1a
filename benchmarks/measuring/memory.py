"""Resident memory of this process, from the system."""

import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def current() -> int | None:
    """Bytes now; None where the system does not tell."""
    return _status("VmRSS")


def peak() -> int | None:
    """Most bytes so far; None where the system does not tell."""
    # Not getrusage on Linux: there the peak of the process that forked this one is inherited.
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
