"""File systems as Linux shows them, small."""

from pathlib import Path

XEON = """processor\t: {number}
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse4_2 avx f16c avx2 fma avx512f avx512_vnni amx_tile amx_int8 hypervisor

"""
# A Raspberry Pi 5: no name, part numbers.
CORTEX = """processor\t: {number}
Features\t: fp asimd aes fphp asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: {part}

"""


def write(root: Path, files: dict[str, str]) -> Path:
    """Fill a folder with files, by their paths below it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def xeon(root: Path) -> Path:
    """A virtual machine of 4 hardware threads on 2 cores, of which the process may use 3."""
    cpus = "sys/devices/system/cpu"
    files = {
        "proc/cpuinfo": "".join(XEON.format(number=number) for number in range(4)),
        "proc/self/status": "Name:\tpython\nCpus_allowed:\t7\nCpus_allowed_list:\t0-2\n",
        "proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n",
        "proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
        f"{cpus}/online": "0-3\n",
        f"{cpus}/cpu0/cache/index0/size": "48K\n",
        f"{cpus}/cpu0/cache/index3/size": "105M\n",
        f"{cpus}/intel_pstate/no_turbo": "1\n",
        "sys/class/dmi/id/sys_vendor": "QEMU\n",
        "sys/class/dmi/id/product_name": "Standard PC\n",
    }
    for number in range(4):
        pair = number // 2 * 2
        files[f"{cpus}/cpu{number}/topology/thread_siblings_list"] = f"{pair}-{pair + 1}\n"
        files[f"{cpus}/cpu{number}/cpufreq/scaling_governor"] = "performance\n"
    return write(root, files)
