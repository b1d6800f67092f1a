"""Quotas and limits of containers, in both versions."""

from pathlib import Path

import pytest

from slide_deploy.machine import cgroups, linux, usable_threads
from tests.machine.trees import write, xeon


def test_version_2_takes_the_lowest_limit_of_a_group_and_its_ancestors(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/box\n",
            "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
            "sys/fs/cgroup/pod/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/pod/box/memory.max": "4096\n",
            "sys/fs/cgroup/pod/box/memory.current": "96\n",
            "sys/fs/cgroup/pod/memory.max": "8192\n",
            "sys/fs/cgroup/pod/memory.current": "8000\n",
        },
    )
    assert cgroups.cpu_quota(tmp_path) == 1.5
    assert cgroups.memory_limit(tmp_path) == 4096
    assert cgroups.memory_left(tmp_path) == 192


def test_version_1_has_one_tree_per_controller(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "1000\n",
            "sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes": "400\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert cgroups.cpu_quota(tmp_path) == 2.5
    assert cgroups.memory_limit(tmp_path) == 1000
    assert cgroups.memory_left(tmp_path) == 600


def test_a_group_that_the_container_cannot_see_is_the_mount_itself(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpu:/docker/elsewhere\n0::/../../outside\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory.max": "77\n",
        },
    )
    assert cgroups.cpu_quota(tmp_path) == 0.5
    assert cgroups.memory_limit(tmp_path) == 77


@pytest.mark.parametrize("quota", ["max 100000", "0 100000", "100000", "100000 0", "", "a b"])
def test_no_quota_is_none(tmp_path: Path, quota: str) -> None:
    write(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": quota})
    assert cgroups.cpu_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("quota", "threads"), [("50000", 1), ("100000", 1), ("150000", 2), ("900000", 2)]
)
def test_threads_follow_the_quota_rounded_up(tmp_path: Path, quota: str, threads: int) -> None:
    # Three hardware threads on two cores are allowed: never more than two.
    write(
        xeon(tmp_path),
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000"},
    )
    assert usable_threads(linux.read(tmp_path)) == threads


def test_available_memory_ends_at_the_limit(tmp_path: Path) -> None:
    write(
        xeon(tmp_path),
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "5000",
            "sys/fs/cgroup/memory.current": "2000",
        },
    )
    assert linux.read(tmp_path).available_memory == 3000
