"""Facts about this machine on which a latency depends.

Only the standard library is used, and no function raises: a fact that the system does not report is
left out. `linux`, `macos` and `windows` each return a `Hardware`, which this module turns into text
and numbers.
"""

import hashlib
import math
import os
import platform
from collections.abc import Callable, Mapping

from slide_deploy.machine import linux, macos, windows
from slide_deploy.machine.hardware import Hardware, as_binary_size, attempt

__all__ = ["Hardware", "describe", "fingerprint", "hardware", "usable_threads"]

_READERS: dict[str, Callable[[], Hardware]] = {
    "Linux": linux.read,
    "Darwin": macos.read,
    "Windows": windows.read,
}

# Latencies of two runs are comparable if these facts are equal. Instruction sets are included
# because a virtual machine may report just "Intel(R) Xeon(R) Processor" and hide some units. The
# kernel, Python, power and frequency settings are left out, because users want to compare them.
_IDENTITY = ("system", "architecture", "processor", "instructions", "usable cores", "cpu quota")


def hardware() -> Hardware:
    """Return what the system reports about this machine and this process's share of it."""
    reader = _READERS.get(platform.system())
    return (attempt(reader) if reader else None) or Hardware(logical_cores=os.cpu_count())


def describe(found: Hardware | None = None) -> dict[str, str]:
    """Return facts about this machine as text, by name; an unknown fact is absent.

    Args:
        found: the machine to describe; None for this one.
    """
    found = found or hardware()
    facts = {
        "system": platform.system(),
        "release": _release(),
        "architecture": platform.machine(),
        "processor": found.processor,
        "instructions": " ".join(found.instructions),
        "logical cores": found.logical_cores,
        "physical cores": found.physical_cores,
        "usable cores": found.usable_cores,
        "cpu quota": None if found.cpu_quota is None else f"{found.cpu_quota:g} cores",
        "last-level cache": as_binary_size(found.last_level_cache),
        "memory": as_binary_size(found.memory),
        "memory limit": as_binary_size(found.memory_limit),
        "frequency governor": found.governor,
        "turbo": None if found.turbo is None else ("on" if found.turbo else "off"),
        "power": found.power,
        "container": found.container,
        "virtual machine": found.virtual_machine,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }
    return {name: str(fact) for name, fact in facts.items() if fact}


def usable_threads(found: Hardware | None = None) -> int:
    """Return how many threads can compute in parallel in this process, at least 1.

    It is the minimum of the cores that the process may run on, the physical cores among them, and
    the CPU quota, rounded up. Two hardware threads of one core share its multipliers.

    Args:
        found: the machine; None for this one.
    """
    found = found or hardware()
    quota = None if found.cpu_quota is None else math.ceil(found.cpu_quota)
    bounds = (
        found.logical_cores,
        found.physical_cores,
        found.usable_cores,
        found.usable_physical_cores,
        quota,
    )
    return max(1, min((bound for bound in bounds if bound is not None), default=1))


def fingerprint(facts: Mapping[str, str]) -> str:
    """Return twelve hexadecimal digits, which are equal for machines with comparable latencies.

    Args:
        facts: of `describe`.
    """
    identity = "\n".join(f"{name}\0{facts.get(name, '')}" for name in _IDENTITY)
    return hashlib.sha256(identity.encode()).hexdigest()[:12]


def _release() -> str:
    # The versions of macOS and Windows are more specific than the release of their kernels.
    return platform.mac_ver()[0] or (
        platform.version() if platform.system() == "Windows" else platform.release()
    )
