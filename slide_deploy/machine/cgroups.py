"""Limits of this process by Linux control groups, set by a container or a service manager.

Version 1 has one tree per controller, version 2 one tree for all; a machine may have both. The file
/proc/self/cgroup lists the process's group in each tree:

    4:memory:/docker/0123           version 1: /sys/fs/cgroup/memory/docker/0123
    0::/system.slice/a.service      version 2: /sys/fs/cgroup/system.slice/a.service

A limit applies to all groups below, so the effective limit is the minimum over the group and its
ancestors. Inside a container the listed path may not be visible. The mount then is the group
itself, and the walk upwards ends there. (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst of
Linux.)
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

# Version 1 writes "no limit" as the largest multiple of a page that fits 63 bits.
_UNLIMITED = 1 << 60


def cpu_quota(root: Path) -> float | None:
    """Return the number of cores whose time the process may use; None for no quota.

    Args:
        root: of the file system.
    """
    quotas = []
    for group in _groups(root, "cpu"):
        words = _words(group / "cpu.max")  # version 2: "150000 100000" or "max 100000"
        if len(words) != 2:
            words = _words(group / "cpu.cfs_quota_us") + _words(group / "cpu.cfs_period_us")
        # Version 1 writes "no quota" as -1.
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min((quota for quota in quotas if quota > 0), default=None)


def memory_limit(root: Path) -> int | None:
    """Return the memory limit of the process's groups in bytes; None for no limit."""
    return min((limit for limit, _ in _memory(root)), default=None)


def memory_left(root: Path) -> int | None:
    """Return the bytes left until the first limit is reached; None for no limit.

    Cached file pages count as used, so the true value is at least as large.
    """
    return min((max(limit - used, 0) for limit, used in _memory(root)), default=None)


def _memory(root: Path) -> Iterator[tuple[int, int]]:
    """Yield the limit and the usage of each group that has a limit, in bytes."""
    for group in _groups(root, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            limit = _words(group / limit_name)
            used = _words(group / used_name)
            if limit and limit[0].isdigit() and int(limit[0]) < _UNLIMITED:
                yield int(limit[0]), int(used[0]) if used and used[0].isdigit() else 0


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of the process's groups in a controller's trees, innermost first."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mounts = [root / "sys/fs/cgroup", root / "sys/fs/cgroup/unified"]
        elif controller in controllers.split(","):
            # Some distributions mount "cpu,cpuacct" under that name and add a link for each.
            mounts = [root / "sys/fs/cgroup" / name for name in (controllers, controller)]
        else:
            continue
        group = PurePosixPath(path.lstrip("/"))
        # The path of a group outside the container's own tree begins with "..".
        if ".." in group.parts:
            group = PurePosixPath()
        for mount in dict.fromkeys(mounts):
            for inner in (group, *group.parents):
                yield mount / inner


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
