"""Memory limits of control groups, versions 1 and 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.runtime.memory_limits import BASE, FLOOR, MIB, buffer_bytes, limit_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_NONE_V1 = "9223372036854771712\n"


def limit(tmp_path: Path, groups: str, files: Mapping[str, str]) -> int | None:
    """Return the limit in a tree with these files, for a process in these groups."""
    process, root = tmp_path / "cgroup", tmp_path / "tree"
    process.write_text(groups)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return limit_bytes(process, root)


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        pytest.param("0::/\n", {"memory.max": "268435456\n"}, 256 * MIB, id="v2, in a container"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "268435456\n"}, 256 * MIB, id="v2, its own group"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1048576\n"}, MIB, id="v2, its parent's"),
        pytest.param(
            "0::/a/b\n", {"a/b/memory.max": "5\n", "a/memory.max": "3\n", "memory.max": "4\n"}, 3, id="v2, the lowest"
        ),
        pytest.param("0::/a\n", {"a/memory.max": "max\n", "memory.max": "max\n"}, None, id="v2, none"),
        pytest.param("0::/../..\n", {"memory.max": "7\n"}, 7, id="v2, a group outside the namespace"),
        pytest.param(
            "4:cpu,cpuacct:/x\n5:memory:/docker/id\n",
            {"memory/docker/id/memory.limit_in_bytes": "268435456\n", "memory/memory.limit_in_bytes": _NONE_V1},
            256 * MIB,
            id="v1",
        ),
        pytest.param(
            "5:memory:/docker/id\n", {"memory/memory.limit_in_bytes": "268435456\n"}, 256 * MIB, id="v1, in a container"
        ),
        pytest.param("5:memory:/\n", {"memory/memory.limit_in_bytes": _NONE_V1}, None, id="v1, none"),
        pytest.param(
            "5:hugetlb,memory:/a\n0::/a\n", {"memory/a/memory.limit_in_bytes": "9\n"}, 9, id="v1 and an empty v2"
        ),
        pytest.param("1:name=systemd:/a:b\n0::/a:b\n", {"a:b/memory.max": "8\n"}, 8, id="a colon in the name"),
        pytest.param("0::/a\n", {"a/memory.max": "rubbish\n", "memory.max": "\n"}, None, id="unreadable numbers"),
        pytest.param("0::/a\n", {}, None, id="no such files"),
        pytest.param("", {}, None, id="no groups"),
    ],
)
def test_lowest_limit_of_all_groups_applies(
    tmp_path: Path, groups: str, files: Mapping[str, str], expected: int | None
) -> None:
    """Groups are those of the process and their parents; "no limit" in any form is None."""
    assert limit(tmp_path, groups, files) == expected


def test_machine_without_control_groups_has_no_limit(tmp_path: Path) -> None:
    assert limit_bytes(tmp_path / "none", tmp_path / "none") is None


def test_limits_of_this_machine_are_readable() -> None:
    """The result is a positive number of bytes, or None."""
    found = limit_bytes()
    assert found is None or found > 0


@pytest.mark.parametrize(
    ("setting", "limit", "expected"),
    [
        (48 * MIB, None, 48 * MIB),
        (48 * MIB, 4096 * MIB, 48 * MIB),
        (48 * MIB, BASE + 64 * MIB, 48 * MIB),
        (48 * MIB, BASE + 40 * MIB, 30 * MIB),
        (48 * MIB, BASE, FLOOR),
        (48 * MIB, 1, FLOOR),
        (1024 * MIB, BASE + 400 * MIB, 300 * MIB),
    ],
)
def test_buffers_fit_in_the_limit(setting: int, limit: int | None, expected: int) -> None:
    """The result is the setting, or three quarters of the remaining memory if that is less; at least 8 MiB."""
    assert buffer_bytes(setting, limit) == expected
