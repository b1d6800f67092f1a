"""Read the hardware from /proc and /sys of Linux. Tests pass another root of the file system."""

import re
from collections.abc import Collection
from pathlib import Path

from slide_deploy.machine import arm_cores
from slide_deploy.machine.cgroups import cpu_quota, memory_left, memory_limit
from slide_deploy.machine.hardware import Hardware, attempt, known_instructions

_CPUS = "sys/devices/system/cpu"


def read(root: Path = Path("/")) -> Hardware:
    """Read all facts about the machine once."""
    cpuinfo = attempt(lambda: processors(root)) or []
    online = attempt(lambda: processor_list((root / _CPUS / "online").read_text()))
    allowed = attempt(lambda: allowed_processors(root))
    return Hardware(
        processor=attempt(lambda: model(root, cpuinfo)),
        instructions=attempt(lambda: instructions(cpuinfo)) or (),
        logical_cores=len(online) if online else len(cpuinfo) or None,
        physical_cores=attempt(lambda: physical_cores(root, online or ())),
        usable_cores=len(allowed) if allowed else None,
        usable_physical_cores=attempt(lambda: physical_cores(root, allowed or ())),
        cpu_quota=attempt(lambda: cpu_quota(root)),
        last_level_cache=attempt(lambda: last_level_cache(root)),
        memory=attempt(lambda: memory(root, "MemTotal")),
        memory_limit=attempt(lambda: memory_limit(root)),
        available_memory=attempt(lambda: available_memory(root)),
        governor=attempt(lambda: governor(root)),
        turbo=attempt(lambda: turbo(root)),
        power=attempt(lambda: power(root)),
        container=attempt(lambda: container(root)),
        virtual_machine=attempt(lambda: virtual_machine(root, cpuinfo)),
    )


def processors(root: Path) -> list[dict[str, str]]:
    """Return the blocks of /proc/cpuinfo, one per logical core."""
    blocks = []
    for block in (root / "proc/cpuinfo").read_text().split("\n\n"):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {key.strip(): value.strip() for key, _, value in pairs}
        if "processor" in fields:
            blocks.append(fields)
    return blocks


def model(root: Path, cpuinfo: list[dict[str, str]]) -> str | None:
    """Return the processor's name, or on Arm, which has no name there, its board and cores."""
    named = next((fields["model name"] for fields in cpuinfo if "model name" in fields), None)
    cores = arm_cores.describe(cpuinfo)
    # The "model name" of 32-bit Arm is only that of the architecture.
    if named and not cores:
        return named
    board = attempt(lambda: (root / "proc/device-tree/model").read_text().strip("\0 \n"))
    return ", ".join(part for part in (board, cores) if part) or None


def instructions(cpuinfo: list[dict[str, str]]) -> tuple[str, ...]:
    """Return the instruction sets of all cores, as a process may be moved between cores."""
    flags = [
        set((fields.get("flags") or fields.get("Features") or "").split()) for fields in cpuinfo
    ]
    return known_instructions(set.intersection(*flags)) if flags else ()


def processor_list(text: str) -> frozenset[int]:
    """Parse the kernel's list of processor numbers, for example "0-3,8"."""
    numbers: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def allowed_processors(root: Path) -> frozenset[int] | None:
    """Return the processors that affinity and cpuset allow for this process."""
    found = re.search(
        r"^Cpus_allowed_list:\s*(\S+)", (root / "proc/self/status").read_text(), re.MULTILINE
    )
    return processor_list(found[1]) if found else None


def physical_cores(root: Path, among: Collection[int]) -> int | None:
    """Return how many physical cores a set of logical ones has; None if it is not reported."""
    cores = set()
    for number in among:
        topology = root / _CPUS / f"cpu{number}" / "topology"
        # The second name was used before Linux 5.4.
        for name in ("core_cpus_list", "thread_siblings_list"):
            if (topology / name).exists():
                cores.add((topology / name).read_text().strip())
                break
        else:
            return None
    return len(cores) or None


def last_level_cache(root: Path) -> int | None:
    """Return the bytes of the largest cache of the first processor."""
    caches = (root / _CPUS / "cpu0/cache").glob("index*/size")
    sizes = [re.fullmatch(r"(\d+)([KMG]?)", path.read_text().strip()) for path in caches]
    return max(
        (int(size[1]) << " KMG".index(size[2] or " ") * 10 for size in sizes if size), default=None
    )


def memory(root: Path, field: str) -> int | None:
    """Return a field of /proc/meminfo in bytes."""
    found = re.search(rf"^{field}:\s*(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def available_memory(root: Path) -> int | None:
    """Return the bytes that can be used without swapping, within the limits of control groups."""
    bounds = (memory(root, "MemAvailable"), memory_left(root))
    return min((bound for bound in bounds if bound is not None), default=None)


def governor(root: Path) -> str | None:
    """Return the frequency governor; all of them if cores differ."""
    files = (root / _CPUS).glob("cpu[0-9]*/cpufreq/scaling_governor")
    return ", ".join(sorted({path.read_text().strip() for path in files})) or None


def turbo(root: Path) -> bool | None:
    """Return whether frequencies above the nominal one are enabled; None if unknown."""
    # intel_pstate has its own setting, and the other drivers share one.
    for name, allowing in (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1")):
        if (root / _CPUS / name).exists():
            return (root / _CPUS / name).read_text().strip() == allowing
    return None


def power(root: Path) -> str | None:
    """Return "mains" or "battery"; None if no supply is listed, as on most servers."""
    batteries = []
    for supply in sorted((root / "sys/class/power_supply").glob("*")):
        fields = {
            name: (supply / name).read_text().strip()
            for name in ("type", "online", "status", "scope")
            if (supply / name).exists()
        }
        if fields.get("scope") == "Device":  # the battery of a mouse
            continue
        if fields.get("type") == "Battery":
            batteries.append(fields.get("status"))
        elif fields.get("online", "0") != "0":
            return "mains"
    if not batteries:
        return None
    return "battery" if "Discharging" in batteries else "mains"


def container(root: Path) -> str | None:
    """Return the kind of container that this process is in, if it can be detected."""
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    manager = attempt(lambda: (root / "run/systemd/container").read_text().strip())
    if manager:
        return manager
    groups = attempt(lambda: (root / "proc/self/cgroup").read_text()) or ""
    return next((kind for kind in ("kubepods", "docker", "lxc") if kind in groups), None)


def virtual_machine(root: Path, cpuinfo: list[dict[str, str]]) -> str | None:
    """Return the kind of virtual machine, or "yes" if its kind is unknown."""
    if "microsoft" in (root / "proc/sys/kernel/osrelease").read_text().lower():
        return "WSL"
    if not any("hypervisor" in fields.get("flags", "").split() for fields in cpuinfo):
        # Arm has no such flag, so a virtual machine is detected by the firmware's name.
        return _firmware(root) if cpuinfo and "flags" not in cpuinfo[0] else None
    return _firmware(root) or "yes"


def _firmware(root: Path) -> str | None:
    """Return the virtual machine that the firmware names."""
    texts = [
        attempt((root / "sys/class/dmi/id" / name).read_text) or ""
        for name in ("sys_vendor", "product_name")
    ]
    known = ("QEMU", "KVM", "VMware", "VirtualBox", "Xen", "Amazon EC2", "Google", "Parallels")
    found = next((name for name in known if name in " ".join(texts)), None)
    return "Hyper-V" if "Virtual Machine" in texts[1] else found
