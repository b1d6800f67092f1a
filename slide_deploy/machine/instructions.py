"""Instruction sets that decide which kernel a runtime chooses, under one name on every system."""

from collections.abc import Iterable

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


def known_instructions(flags: Iterable[str]) -> tuple[str, ...]:
    """Those of the sets above that a system's list of flags holds, in our order and spelling."""
    lower = {flag.lower() for flag in flags}
    found = lower | {_ALIASES[flag] for flag in lower if flag in _ALIASES}
    return tuple(name for name in (*X86, *ARM) if name in found)
