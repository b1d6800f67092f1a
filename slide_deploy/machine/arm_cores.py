"""Names of Arm cores, for which Linux reports part numbers only."""

from collections import Counter

# Arm's own parts (implementer 0x41) from arch/arm64/include/asm/cputype.h of Linux: those in
# boards, phones and cloud servers.
_ARM = {
    0xD03: "Cortex-A53",
    0xD04: "Cortex-A35",
    0xD05: "Cortex-A55",
    0xD07: "Cortex-A57",
    0xD08: "Cortex-A72",
    0xD09: "Cortex-A73",
    0xD0A: "Cortex-A75",
    0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1",
    0xD0D: "Cortex-A77",
    0xD40: "Neoverse-V1",
    0xD41: "Cortex-A78",
    0xD42: "Cortex-A78AE",
    0xD44: "Cortex-X1",
    0xD46: "Cortex-A510",
    0xD47: "Cortex-A710",
    0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2",
    0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3",
    0xD4F: "Neoverse-V2",
    0xD80: "Cortex-A520",
    0xD81: "Cortex-A720",
    0xD82: "Cortex-X4",
    0xD84: "Neoverse-V3",
    0xD85: "Cortex-X925",
    0xD87: "Cortex-A725",
}


def describe(cpuinfo: list[dict[str, str]]) -> str | None:
    """Return the cores by kind, for example "4 x Cortex-A76"; None if no parts are listed."""
    kinds = Counter(
        _name(fields["CPU implementer"], fields["CPU part"])
        for fields in cpuinfo
        if "CPU part" in fields and "CPU implementer" in fields
    )
    return " + ".join(f"{count} x {name}" for name, count in kinds.items()) or None


def _name(implementer: str, part: str) -> str:
    known = _ARM.get(int(part, 16)) if int(implementer, 16) == 0x41 else None
    return known or f"Arm core {implementer}:{part}"
