"""Read the hardware of macOS with ``sysctl``, ``vm_stat`` and ``pmset``."""

import re
import subprocess
from collections.abc import Callable

from slide_deploy.machine.hardware import Hardware, attempt, known_instructions

# Runs a command and returns its output; tests replace it.
Run = Callable[..., str]
Text = Callable[[str], str | None]

_ARM_FEATURES = ("FP16", "DotProd", "I8MM", "BF16", "SME")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=5).stdout


def read(run: Run = _run) -> Hardware:
    """Read all facts about the machine once.

    Args:
        run: takes the words of a command and returns its output; raises if it fails.
    """

    def text(name: str) -> str | None:
        return attempt(lambda: run("sysctl", "-n", name).strip())

    def number(name: str) -> int | None:
        return attempt(lambda: int(run("sysctl", "-n", name)))

    return Hardware(
        processor=processor(text),
        instructions=instructions(text),
        logical_cores=number("hw.logicalcpu"),
        physical_cores=number("hw.physicalcpu"),
        # macOS has no affinity and no quota, so every core may be used.
        usable_cores=number("hw.activecpu"),
        last_level_cache=number("hw.l3cachesize")
        or number("hw.perflevel0.l2cachesize")
        or number("hw.l2cachesize"),
        memory=number("hw.memsize"),
        available_memory=attempt(lambda: available_memory(run("vm_stat"))),
        power=attempt(lambda: power(run("pmset", "-g", "batt"))),
        virtual_machine=virtual_machine(text),
    )


def processor(text: Text) -> str | None:
    """Return the model, with the numbers of performance and efficiency cores if it has both.

    Args:
        text: returns the value of a system variable, or None if there is none of that name.
    """
    brand = text("machdep.cpu.brand_string")
    fast, efficient = (text(f"hw.perflevel{level}.physicalcpu") for level in (0, 1))
    if not (brand and fast and efficient):
        return brand
    return f"{brand}, {fast} performance and {efficient} efficiency cores"


def instructions(text: Text) -> tuple[str, ...]:
    """Return the instruction sets of an Intel or Apple processor."""
    flags: list[str] = []
    for name in ("machdep.cpu.features", "machdep.cpu.leaf7_features"):
        flags += (text(name) or "").split()
    if text("hw.optional.arm64") == "1":
        flags.append("neon")
    flags += [name for name in _ARM_FEATURES if text(f"hw.optional.arm.FEAT_{name}") == "1"]
    return known_instructions(flags)


def virtual_machine(text: Text) -> str | None:
    """Return "Rosetta 2" or "yes" if the process is translated or in a virtual machine."""
    if text("sysctl.proc_translated") == "1":
        return "Rosetta 2"
    return "yes" if text("kern.hv_vmm_present") == "1" else None


def available_memory(vm_stat: str) -> int:
    """Return the bytes of free and reclaimable pages, from the output of ``vm_stat``."""
    page = re.search(r"page size of (\d+) bytes", vm_stat)
    pages = re.findall(r"^Pages (?:free|inactive|speculative|purgeable):\s+(\d+)", vm_stat, re.M)
    if page is None or not pages:
        raise ValueError("the output of vm_stat has another format")
    return int(page[1]) * sum(map(int, pages))


def power(pmset: str) -> str | None:
    """Return "mains" or "battery", from the output of ``pmset -g batt``."""
    found = re.search(r"drawing from '(AC|Battery|UPS) Power'", pmset)
    if found is None:
        return None
    return "mains" if found[1] == "AC" else "battery"
