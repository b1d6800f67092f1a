"""What /proc and /sys say, in trees of our own."""

from pathlib import Path

import pytest

from slide_deploy.machine import Hardware, linux, usable_threads
from tests.machine.trees import CORTEX, write, xeon


def test_a_server_is_read(tmp_path: Path) -> None:
    assert linux.read(xeon(tmp_path)) == Hardware(
        processor="Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        instructions=(
            *("sse4.2", "avx", "avx2", "fma", "f16c"),
            *("avx512f", "avx512_vnni", "amx_tile", "amx_int8"),
        ),
        logical_cores=4,
        physical_cores=2,
        usable_cores=3,
        usable_physical_cores=2,
        last_level_cache=105 << 20,
        memory=16_000_000 << 10,
        available_memory=12_000_000 << 10,
        governor="performance",
        turbo=False,
        virtual_machine="QEMU",
    )


def test_an_arm_board_is_named_by_its_model_and_cores(tmp_path: Path) -> None:
    parts = ["0xd05"] * 4 + ["0xd0b"] * 2 + ["0x123"]
    write(
        tmp_path,
        {
            "proc/cpuinfo": "".join(
                CORTEX.format(number=number, part=part) for number, part in enumerate(parts)
            ),
            "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/sys/kernel/osrelease": "6.6.31-rpi",
        },
    )
    found = linux.read(tmp_path)
    assert found.processor == (
        "Raspberry Pi 5 Model B Rev 1.0, 4 x Cortex-A55 + 2 x Cortex-A76 + 1 x Arm core 0x41:0x123"
    )
    assert found.instructions == ("neon", "fp16", "dotprod")
    assert found.logical_cores == 7
    assert found.virtual_machine is None


def test_instruction_sets_are_those_of_all_cores() -> None:
    cores = [{"flags": "avx2 avx512f"}, {"flags": "avx2"}]
    assert linux.instructions(cores) == ("avx2",)


@pytest.mark.parametrize("damage", ["", "\0\xff", "processor", "0-", "-1", "max", "1 2 3"])
def test_nonsense_leaves_facts_out_and_raises_nothing(tmp_path: Path, damage: str) -> None:
    whole = xeon(tmp_path)
    write(whole, {"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/cpu.max": "100000 100000"})
    for path in [item for item in whole.rglob("*") if item.is_file()]:
        kept = path.read_text()
        path.write_text(damage)
        assert usable_threads(linux.read(whole)) >= 1
        path.unlink()
        linux.read(whole)
        path.mkdir()
        linux.read(whole)
        path.rmdir()
        path.write_text(kept)


def test_an_empty_file_system_gives_no_facts(tmp_path: Path) -> None:
    assert linux.read(tmp_path) == Hardware()


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, None),
        ({"AC": {"type": "Mains", "online": "1"}}, "mains"),
        (
            {
                "AC": {"type": "Mains", "online": "0"},
                "BAT0": {"type": "Battery", "status": "Discharging"},
            },
            "battery",
        ),
        ({"BAT0": {"type": "Battery", "status": "Charging"}}, "mains"),
        (
            {
                "ucsi": {"type": "USB", "online": "1"},
                "BAT0": {"type": "Battery", "status": "Discharging"},
            },
            "mains",
        ),
        ({"mouse": {"type": "Battery", "status": "Discharging", "scope": "Device"}}, None),
    ],
)
def test_power(tmp_path: Path, supplies: dict[str, dict[str, str]], expected: str | None) -> None:
    for supply, fields in supplies.items():
        folder = f"sys/class/power_supply/{supply}"
        write(tmp_path, {f"{folder}/{name}": text + "\n" for name, text in fields.items()})
    assert linux.power(tmp_path) == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({".dockerenv": ""}, "docker"),
        ({"run/.containerenv": ""}, "podman"),
        ({"run/systemd/container": "systemd-nspawn\n"}, "systemd-nspawn"),
        ({"proc/self/cgroup": "0::/kubepods/burstable/pod1/2\n"}, "kubepods"),
        ({"proc/self/cgroup": "0::/user.slice\n"}, None),
    ],
)
def test_container(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    assert linux.container(write(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("switch", "text", "expected"),
    [
        ("intel_pstate/no_turbo", "0", True),
        ("intel_pstate/no_turbo", "1", False),
        ("cpufreq/boost", "1", True),
        ("cpufreq/boost", "0", False),
        ("cpufreq/none", "1", None),
    ],
)
def test_turbo(tmp_path: Path, switch: str, text: str, expected: bool | None) -> None:
    assert linux.turbo(write(tmp_path, {f"sys/devices/system/cpu/{switch}": text})) is expected
