"""Read the hardware of Windows from the registry and kernel32."""

import ctypes
import os
import struct
import sys
from collections.abc import Callable
from typing import Any

from slide_deploy.machine.hardware import Hardware, attempt, known_instructions

# PF_..._AVAILABLE of winnt.h, which has no numbers for fma, f16c and the extensions of AVX-512.
_FEATURES = {
    38: "sse4.2",
    39: "avx",
    40: "avx2",
    41: "avx512f",
    19: "neon",
    43: "dotprod",
    46: "sve",
    47: "sve2",
}

# The predefined power plans of Windows, from ``powercfg /list``.
_PLANS = {
    "381b4222-f694-41f0-9685-ff5bb260df2e": "balanced",
    "8c5e7fda-e8bf-4a96-9a85-a6e23a8c635c": "high performance",
    "a1841308-3541-4fab-bc81-f71556f20b4a": "power saver",
}

# SYSTEM_LOGICAL_PROCESSOR_INFORMATION on 64 bits: mask, relationship, 4 bytes of padding and a
# union of 16 bytes, which for a cache holds level, associativity, line size and size.
_RELATION = struct.Struct("<QI4x16s")
_CACHE = struct.Struct("<BBHI")
_CORE, _CACHE_RELATION = 0, 2


def read() -> Hardware:
    """Read all facts about the machine once."""
    if sys.platform != "win32":
        return Hardware()
    kernel32: Any = ctypes.WinDLL("kernel32", use_last_error=True)
    relations = attempt(lambda: _relations(kernel32)) or b""
    memory = attempt(lambda: _memory(kernel32)) or (None, None)
    allowed = attempt(lambda: _affinity(kernel32))
    return Hardware(
        processor=attempt(
            lambda: _registry(
                r"HARDWARE\DESCRIPTION\System\CentralProcessor\0", "ProcessorNameString"
            ).strip()
        ),
        instructions=attempt(lambda: instructions(kernel32.IsProcessorFeaturePresent)) or (),
        logical_cores=os.cpu_count(),
        physical_cores=physical_cores(relations, None),
        usable_cores=None if allowed is None else allowed.bit_count(),
        usable_physical_cores=physical_cores(relations, allowed),
        last_level_cache=largest_cache(relations),
        memory=memory[0],
        available_memory=memory[1],
        governor=attempt(
            lambda: plan_name(
                _registry(
                    r"SYSTEM\CurrentControlSet\Control\Power\User\PowerSchemes", "ActivePowerScheme"
                )
            )
        ),
        power=attempt(lambda: _power(kernel32)),
    )


def instructions(present: Callable[[int], int]) -> tuple[str, ...]:
    """Return the instruction sets for which Windows has numbers.

    Args:
        present: IsProcessorFeaturePresent.
    """
    return known_instructions(name for number, name in _FEATURES.items() if present(number))


def physical_cores(relations: bytes, allowed: int | None) -> int | None:
    """Return the number of physical cores; None if unknown.

    Args:
        relations: output of GetLogicalProcessorInformation.
        allowed: mask of the logical cores to count; None for all.
    """
    masks = [mask for mask, kind, _ in _RELATION.iter_unpack(relations) if kind == _CORE]
    return sum(allowed is None or bool(mask & allowed) for mask in masks) or None


def largest_cache(relations: bytes) -> int | None:
    """Return the bytes of the largest cache; None if unknown."""
    return max(
        (
            _CACHE.unpack_from(rest)[3]
            for _, kind, rest in _RELATION.iter_unpack(relations)
            if kind == _CACHE_RELATION
        ),
        default=None,
    )


def plan_name(identifier: str) -> str:
    """Return the name of a power plan, or the identifier of a custom one."""
    return _PLANS.get(identifier.lower(), identifier)


def power_of(line_status: int) -> str | None:
    """Return "mains" or "battery" for an ACLineStatus; None for 255, which means unknown."""
    return {0: "battery", 1: "mains"}.get(line_status)


def _registry(key: str, name: str) -> str:
    import winreg as registry

    api: Any = registry
    with api.OpenKey(api.HKEY_LOCAL_MACHINE, key) as opened:
        return str(api.QueryValueEx(opened, name)[0])


def _relations(kernel32: Any) -> bytes:
    size = ctypes.c_ulong(0)
    kernel32.GetLogicalProcessorInformation(None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if not kernel32.GetLogicalProcessorInformation(buffer, ctypes.byref(size)):
        raise OSError("GetLogicalProcessorInformation")
    return buffer.raw


def _affinity(kernel32: Any) -> int:
    process, system = ctypes.c_size_t(), ctypes.c_size_t()
    kernel32.GetCurrentProcess.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(kernel32.GetCurrentProcess())
    if not kernel32.GetProcessAffinityMask(handle, ctypes.byref(process), ctypes.byref(system)):
        raise OSError("GetProcessAffinityMask")
    return process.value


def _memory(kernel32: Any) -> tuple[int, int]:
    """Return total and free bytes.

    MEMORYSTATUSEX is its own length, the load, then seven sizes of 8 bytes.
    """
    status = ctypes.create_string_buffer(struct.pack("<II7Q", 64, *[0] * 8), 64)
    if not kernel32.GlobalMemoryStatusEx(status):
        raise OSError("GlobalMemoryStatusEx")
    _, _, total, available, *_ = struct.unpack("<II7Q", status.raw)
    return total, available


def _power(kernel32: Any) -> str | None:
    """Read SYSTEM_POWER_STATUS, 12 bytes of which the first is ACLineStatus."""
    status = ctypes.create_string_buffer(12)
    return power_of(status.raw[0]) if kernel32.GetSystemPowerStatus(status) else None
