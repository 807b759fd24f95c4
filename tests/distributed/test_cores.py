"""Cores by affinity and by the quotas of control groups, files and real ones."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from distmnist.distributed import cores
from tests import control_groups
from tests.launching import run

# What /proc/self/cgroup has, what is in the groups, and the quota.
GROUPS = {
    "none": ("0::/", {}, math.inf),
    "v2 without a limit": ("0::/job", {"job/cpu.max": "max 100000"}, math.inf),
    "v2": ("0::/job", {"job/cpu.max": "150000 100000"}, 1.5),
    "v2, of a parent": (
        "0::/pod/job",
        {"pod/cpu.max": "200000 100000", "pod/job/cpu.max": "max 100000"},
        2.0,
    ),
    "v2, mounted at the container's group": (
        "0::/on/the/host",
        {"cpu.max": "50000 100000"},
        0.5,
    ),
    "v1": (
        "4:memory:/x\n1:cpu,cpuacct:/job",
        {
            "cpu,cpuacct/job/cpu.cfs_quota_us": "300000",
            "cpu,cpuacct/job/cpu.cfs_period_us": "100000",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1",
            "cpu,cpuacct/cpu.cfs_period_us": "100000",
        },
        3.0,
    ),
    "damaged": ("0::/job", {"job/cpu.max": "many"}, math.inf),
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_least_quota_of_all_groups_counts(name: str, tmp_path: Path) -> None:
    text, files, expected = GROUPS[name]
    (tmp_path / "groups").write_text(f"{text}\n")
    for path, content in files.items():
        (tmp_path / "mount" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mount" / path).write_text(f"{content}\n")
    assert cores.quota(tmp_path / "groups", tmp_path / "mount") == expected


def test_a_system_without_groups_has_no_quota(tmp_path: Path) -> None:
    assert cores.quota(tmp_path / "missing", tmp_path) == math.inf


@pytest.mark.parametrize(
    ("host", "own", "quota", "ranks", "expected"),
    [
        (8, 8, math.inf, 1, 8),
        (8, 8, math.inf, 4, 2),
        (2, 2, math.inf, 4, 1),
        (8, 1, math.inf, 4, 1),  # bound by a launcher
        (8, 8, 4.5, 2, 2),
        (8, 8, 0.5, 1, 1),
    ],
)
def test_ranks_share_the_host_and_its_quota(
    monkeypatch: pytest.MonkeyPatch,
    host: int,
    own: int,
    quota: float,
    ranks: int,
    expected: int,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: host)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(own)))
    monkeypatch.setattr(cores, "quota", lambda: quota)
    assert cores.share(ranks) == expected
    assert cores.are_shared(ranks) == (ranks > min(host, quota))


@pytest.fixture
def group(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A real control group whose quota, in cores, is the parameter."""
    with control_groups.with_quota(request.param) as path:
        if path is None:
            pytest.skip("control groups cannot be created here")
        yield path


@pytest.mark.parametrize("group", [1.0], indirect=True)
def test_a_real_quota_is_seen(group: Path) -> None:
    program = "from distmnist.distributed import cores; print(cores.available())"
    done = run((*control_groups.inside(group), sys.executable, "-c", program))
    assert done.stdout == "1\n"
    assert cores.available() == len(os.sched_getaffinity(0)), "nor outside of it"
