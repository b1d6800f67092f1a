"""Facts in words, and what is made of them."""

import os
import platform
import struct

import pytest

from slide_deploy.machine import (
    Hardware,
    describe,
    fingerprint,
    hardware,
    macos,
    usable_threads,
    windows,
)
from slide_deploy.machine.hardware import as_binary_size, attempt


def test_this_machine_is_described() -> None:
    facts = describe()
    assert facts["system"] == platform.system()
    assert facts["python"].endswith(platform.python_version())
    assert all(isinstance(fact, str) and fact for fact in facts.values())
    assert 1 <= usable_threads() <= (os.cpu_count() or 1)


def test_unknown_facts_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(describe(Hardware())) == {"system", "release", "architecture", "python"}
    monkeypatch.setattr(platform, "system", lambda: "Plan 9")
    assert hardware() == Hardware(logical_cores=os.cpu_count())


def test_facts_are_text() -> None:
    facts = describe(
        Hardware(cpu_quota=1.5, memory=3 << 29, turbo=False, instructions=("avx", "avx2"))
    )
    assert facts["cpu quota"] == "1.5 cores"
    assert facts["memory"] == "1.5 GiB"
    assert facts["turbo"] == "off"
    assert facts["instructions"] == "avx avx2"


def test_threads_are_at_least_one_and_at_most_the_usable_cores() -> None:
    assert usable_threads(Hardware()) == 1
    assert usable_threads(Hardware(logical_cores=8, physical_cores=4)) == 4
    assert usable_threads(Hardware(logical_cores=8, physical_cores=4, usable_cores=3)) == 3
    assert usable_threads(Hardware(physical_cores=4, usable_cores=4, usable_physical_cores=2)) == 2
    assert usable_threads(Hardware(physical_cores=4, cpu_quota=0.1)) == 1


def test_a_fingerprint_holds_what_makes_latencies_comparable() -> None:
    facts = {"system": "Linux", "processor": "P", "usable cores": "4", "architecture": "x86_64"}
    same = {"release": "6.1", "python": "CPython 3.12", "power": "battery", "memory": "8 GiB"}
    assert fingerprint(facts) == fingerprint(facts | same)
    others = {
        *("system", "architecture", "processor", "instructions", "usable cores", "cpu quota"),
    }
    changed = {fingerprint(facts | {name: "another"}) for name in others}
    assert len(changed | {fingerprint(facts)}) == len(others) + 1


@pytest.mark.parametrize(
    ("size", "text"),
    [(None, None), (512, "512 B"), (480 << 20, "480 MiB"), (25 << 29, "12.5 GiB")],
)
def test_sizes(size: int | None, text: str | None) -> None:
    assert as_binary_size(size) == text


def test_a_failed_attempt_is_none() -> None:
    assert attempt(lambda: 1 // 0) is None


MAC = {
    "machdep.cpu.brand_string": "Apple M2 Pro",
    "hw.perflevel0.physicalcpu": "8",
    "hw.perflevel1.physicalcpu": "4",
    "hw.logicalcpu": "12",
    "hw.physicalcpu": "12",
    "hw.activecpu": "12",
    "hw.perflevel0.l2cachesize": str(16 << 20),
    "hw.memsize": str(32 << 30),
    "hw.optional.arm64": "1",
    "hw.optional.arm.FEAT_FP16": "1",
    "hw.optional.arm.FEAT_DotProd": "1",
    "hw.optional.arm.FEAT_I8MM": "1",
    "hw.optional.arm.FEAT_BF16": "1",
    "hw.optional.arm.FEAT_SME": "0",
    "sysctl.proc_translated": "0",
    "kern.hv_vmm_present": "0",
}
BATTERY = "Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t71%; discharging\n"
VM_STAT = """Mach Virtual Memory Statistics: (page size of 16384 bytes)
Pages free:                               10.
Pages active:                         371834.
Pages inactive:                           20.
Pages speculative:                         1.
"""


def ask_mac(*command: str) -> str:
    if command[0] == "sysctl":
        return MAC[command[-1]] + "\n"
    return {"pmset": BATTERY, "vm_stat": VM_STAT}[command[0]]


def test_a_mac_is_read_through_its_commands() -> None:
    assert macos.read(ask_mac) == Hardware(
        processor="Apple M2 Pro, 8 performance and 4 efficiency cores",
        instructions=("neon", "fp16", "dotprod", "i8mm", "bf16"),
        logical_cores=12,
        physical_cores=12,
        usable_cores=12,
        last_level_cache=16 << 20,
        memory=32 << 30,
        available_memory=31 * 16384,
        power="battery",
    )


def test_an_intel_mac_has_other_names_of_instruction_sets() -> None:
    values = {
        "machdep.cpu.features": "FPU SSE4.2 AVX1.0 FMA F16C",
        "machdep.cpu.leaf7_features": "AVX2 AVX512F AVX512VNNI",
        "sysctl.proc_translated": "1",
    }
    assert macos.instructions(values.get) == (
        *("sse4.2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni"),
    )
    assert macos.virtual_machine(values.get) == "Rosetta 2"


def test_a_mac_whose_commands_fail_is_unknown() -> None:
    def refuse(*command: str) -> str:
        raise FileNotFoundError(command[0])

    assert macos.read(refuse) == Hardware()
    assert macos.read(lambda *command: "nonsense").power is None


def test_windows_counts_cores_by_their_masks() -> None:
    def relation(mask: int, kind: int, rest: bytes = b"") -> bytes:
        return struct.pack("<QI4x16s", mask, kind, rest)

    relations = relation(0b0011, 0) + relation(0b1100, 0)
    relations += relation(0b1111, 2, struct.pack("<BBHI", 3, 16, 64, 8 << 20))
    relations += relation(0b0011, 2, struct.pack("<BBHI", 2, 8, 64, 1 << 20))
    assert windows.physical_cores(relations, None) == 2
    assert windows.physical_cores(relations, 0b0011) == 1
    assert windows.largest_cache(relations) == 8 << 20
    assert windows.physical_cores(b"", None) is None
    assert windows.largest_cache(b"") is None


def test_windows_names_plans_power_and_instructions() -> None:
    assert windows.plan_name("8C5E7FDA-E8BF-4A96-9A85-A6E23A8C635C") == "high performance"
    assert windows.plan_name("my-own") == "my-own"
    assert [windows.power_of(status) for status in (0, 1, 255)] == ["battery", "mains", None]
    assert windows.instructions({38: 1, 40: 1}.get) == ("sse4.2", "avx2")


@pytest.mark.skipif(platform.system() == "Windows", reason="looks at Windows from outside")
def test_windows_elsewhere_is_unknown() -> None:
    assert windows.read() == Hardware()
