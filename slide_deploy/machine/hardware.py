"""What the readers of all systems answer with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

# As they are shown, in this order.
X86 = (
    *("sse4.2", "avx", "avx2", "fma", "f16c", "avx_vnni"),
    *("avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
)
ARM = ("neon", "fp16", "dotprod", "i8mm", "bf16", "sve", "sve2", "sme")

# Other spellings. Linux: arch/arm64/kernel/cpuinfo.c (hwcap_str) and arch/x86/include/asm/
# cpufeatures.h; 32-bit Arm says "neon" itself. macOS: sysctl machdep.cpu.features and
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
    """One machine, and the share of it that this process has. None, or empty: unknown.

    Attributes:
        processor: its model.
        instructions: sets that matter to inference, in the words of `instructions`.
        logical_cores: of the machine, hardware threads included.
        physical_cores: of the machine.
        usable_cores: logical cores that this process may run on.
        usable_physical_cores: physical cores that those belong to.
        cpu_quota: cores that the process's group may keep busy on average; None for no quota.
        last_level_cache: bytes of the largest cache, of one instance.
        memory: bytes of the machine.
        memory_limit: bytes that the process's group may use; None for no limit.
        available_memory: bytes that can be used now, within the limit.
        governor: how the frequency is chosen.
        turbo: whether frequencies above the nominal one are allowed.
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
    """What ``read`` answers; None if it fails in whatever way.

    Systems, drivers and sandboxes fail to tell in more ways than can be listed, and no fact about
    the machine is worth ending a measurement for.
    """
    try:
        return read()
    except Exception:
        return None


def as_binary_size(size: int | None) -> str | None:
    """Bytes as people read them, in powers of 1024; None for None."""
    if size is None:
        return None
    for exponent, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size >= 1 << exponent:
            figure = size / (1 << exponent)
            return f"{figure:.0f} {unit}" if figure == round(figure) else f"{figure:.1f} {unit}"
    return f"{size} B"


def known_instructions(flags: Iterable[str]) -> tuple[str, ...]:
    """Those of the sets above that a system's list of flags holds, in our order and spelling."""
    lower = {flag.lower() for flag in flags}
    found = lower | {_ALIASES[flag] for flag in lower if flag in _ALIASES}
    return tuple(name for name in (*X86, *ARM) if name in found)
