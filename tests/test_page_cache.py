"""The page cache policy, on a real disk."""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from models_init.fs import files
from models_init.fs.page_cache import SMALL, BoundedPageCache, NoPageCachePolicy
from models_init.runtime.memory_limits import MIB, available_bytes, cache_share
from tests.services import missing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four files of 1 MiB on a file system whose pages can be dropped from the cache."""
    for number in range(4):
        (tmp_path / str(number)).write_bytes(random.Random(number).randbytes(MIB))
    (tmp_path / "elsewhere").write_bytes(b"x" * MIB)
    with (tmp_path / "elsewhere").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached(tmp_path / "elsewhere"):
        missing("no page cache that can be emptied", f"{tmp_path} lies in memory; set TMPDIR to a directory on a disk")
    return tmp_path


def cached(path: Path) -> float:
    """The share of a file that is in the page cache."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        view = (ctypes.c_char * len(mapped)).from_buffer(mapped)
        pages = ctypes.create_string_buffer(-(-len(mapped) // mmap.PAGESIZE))
        assert ctypes.CDLL(None, use_errno=True).mincore(view, ctypes.c_size_t(len(mapped)), pages) == 0
        del view
        return sum(byte & 1 for byte in pages.raw[: len(pages)]) / len(pages)


def passed(share: BoundedPageCache, tree: Path, count: int = 4) -> list[bool]:
    """Report `count` files to the policy; return for each whether it stays in the cache."""
    for number in range(count):
        share.passed(str(tree / str(number)), 0, MIB)
    return stay(tree)


def stay(tree: Path) -> list[bool]:
    return [cached(tree / str(number)) > 0.5 for number in range(4)]


def test_newest_ranges_stay_cached(tree: Path) -> None:
    before = [(tree / str(number)).read_bytes() for number in range(4)]
    assert passed(BoundedPageCache(2 * MIB), tree) == [False, False, True, True]
    assert [(tree / str(number)).read_bytes() for number in range(4)] == before


def test_ranges_within_limit_stay_cached(tree: Path) -> None:
    share = BoundedPageCache(4 * MIB)
    assert passed(share, tree) == [True] * 4
    share.complete(str(tree))
    assert stay(tree) == [True] * 4


def test_complete_tree_is_dropped_if_limit_was_exceeded(tree: Path) -> None:
    share = BoundedPageCache(2 * MIB)
    passed(share, tree)
    share.complete(str(tree / "other"))
    assert stay(tree) == [False, False, True, True]
    share.complete(str(tree))
    assert stay(tree) == [False] * 4


def test_small_ranges_are_ignored(tree: Path) -> None:
    share = BoundedPageCache(0)
    for start in range(0, MIB, SMALL // 2):
        share.passed(str(tree / "0"), start, SMALL // 2)
    assert stay(tree)[0]


def test_small_ranges_are_synced_from_time_to_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file system is synced once for every 128 MiB of small ranges, however they are reported."""
    synced: list[str] = []
    monkeypatch.setattr("models_init.fs.page_cache.sync_file_system", synced.append)
    policy = BoundedPageCache(MIB)
    for _ in range(300):
        policy.passed_small(str(tmp_path), MIB)
    assert synced == [str(tmp_path)] * 2


def test_missing_file_is_ignored(tree: Path) -> None:
    share = BoundedPageCache(0)
    share.passed(str(tree / "none"), 0, MIB)
    (tree / "link").symlink_to("0")
    share.passed(str(tree / "link"), 0, MIB)
    assert stay(tree)[0]


@pytest.mark.parametrize("number", [95, 22, 29])
def test_unsupported_sync_file_range_is_ignored(tree: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    answers(monkeypatch, number)
    assert any(passed(BoundedPageCache(MIB), tree))


def test_write_back_error_is_raised(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, 5)
    with pytest.raises(OSError, match="Input/output error"):
        BoundedPageCache(MIB).passed(str(tree / "0"), 0, MIB)


def answers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let sync_file_range fail with an errno."""

    def failing(*_: Any) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(files, "_sync_file_range", lambda: failing)


def test_cache_is_unchanged_without_policy(tree: Path) -> None:
    pages = NoPageCachePolicy()
    pages.passed(str(tree / "0"), 0, MIB)
    pages.complete(str(tree))
    assert stay(tree)[0]


@pytest.mark.parametrize(
    ("available", "limit", "expected"),
    [
        (4096 * MIB, None, 1024 * MIB),
        (4096 * MIB, 192 * MIB, 48 * MIB),
        (None, 192 * MIB, 48 * MIB),
        (32 * MIB, 4096 * MIB, 16 * MIB),
        (None, None, 16 * MIB),
        (1 << 40, None, 8192 * MIB),
    ],
)
def test_limit_is_a_quarter_of_available_memory(available: int | None, limit: int | None, expected: int) -> None:
    """The control group's limit is used if it is smaller; the result has a minimum and a maximum."""
    assert cache_share(available, limit) == expected


def test_available_memory_is_read_from_meminfo(tmp_path: Path) -> None:
    assert (available_bytes() or 0) > MIB
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable:    2048 kB\n")
    assert available_bytes(tmp_path / "meminfo") == 2 * MIB
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\n")
    assert available_bytes(tmp_path / "meminfo") is None
    assert available_bytes(tmp_path / "none") is None
