"""The hardware record that the readers of all systems return, and helpers that they share."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# Instruction sets by which a runtime chooses its kernels, under one name on every system. They are
# shown in this order.
X86 = (
    *("sse4.2", "avx", "avx2", "fma", "f16c", "avx_vnni"),
    *("avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
)
ARM = ("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme")

# Other names. Linux: arch/arm64/kernel/cpuinfo.c (hwcap_str) and arch/x86/include/asm/
# cpufeatures.h; 32-bit Arm reports "neon". macOS: sysctl machdep.cpu.features and
# machdep.cpu.leaf7_features, in capitals, and hw.optional.arm.FEAT_*.
_ALIASES = {
    "sse4_2": "sse4.2",
    "avx1.0": "avx",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "asimd": "neon",
    "advsimd": "neon",
    "asimdhp": "fp16",
    "asimddp": "dotprod",
}


@dataclass(frozen=True)
class Hardware:
    """A machine, and this process's share of it. An unknown value is None or empty.

    Attributes:
        processor: its model.
        instructions: instruction sets that matter to inference, from `X86` and `ARM`.
        logical_cores: of the machine, counting hardware threads.
        physical_cores: of the machine.
        usable_cores: logical cores that this process may run on.
        usable_physical_cores: physical cores of the usable cores.
        cpu_quota: average number of cores that the process's group may use; None for no quota.
        last_level_cache: bytes of one instance of the largest cache.
        memory: bytes of the machine.
        memory_limit: bytes that the process's group may use; None for no limit.
        available_memory: bytes that can be used now, within the limit.
        governor: the policy that sets the frequency.
        turbo: whether frequencies above the nominal one are enabled.
        power: "mains" or "battery".
        container: its kind.
        virtual_machine: its kind.
    """

    processor: str | None = None
    instructions: tuple[str, ...] = ()
    logical_cores: int | None = None
    physical_cores: int | None = None
    usable_cores: int | None = None
    usable_physical_cores: int | None = None
    cpu_quota: float | None = None
    last_level_cache: int | None = None
    memory: int | None = None
    memory_limit: int | None = None
    available_memory: int | None = None
    governor: str | None = None
    turbo: bool | None = None
    power: str | None = None
    container: str | None = None
    virtual_machine: str | None = None


def attempt(read: Callable[[], T]) -> T | None:
    """Return the result of ``read``, or None if it raises any exception.

    Systems, drivers and sandboxes fail in too many ways to list, and a missing fact about the
    machine must not end a measurement.
    """
    try:
        return read()
    except Exception:
        return None


def as_binary_size(size: int | None) -> str | None:
    """Format bytes for people to read, in powers of 1024; None for None."""
    if size is None:
        return None
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << exponent:
            figure = size / (1 << exponent)
            return f"{figure:.0f} {unit}" if figure == round(figure) else f"{figure:.1f} {unit}"
    return f"{size} B"


def known_instructions(flags: Iterable[str]) -> tuple[str, ...]:
    """Return the instruction sets of `X86` and `ARM` among a system's flags, in their order."""
    lower = {flag.lower() for flag in flags}
    found = lower | {_ALIASES[flag] for flag in lower if flag in _ALIASES}
    return tuple(name for name in (*X86, *ARM) if name in found)
