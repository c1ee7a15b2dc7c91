"""What stays in the page cache of the files that an install passes through, on a real disk."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING, Any

import pytest

from models_init.core.memory_limits import MIB, available_bytes, cache_share
from models_init.fs import files
from models_init.fs.page_cache import SMALL, BoundedPageCache, NoPageCachePolicy
from tests.services import missing

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four files of 1 MiB in a directory whose pages can leave memory."""
    for number in range(4):
        (tmp_path / str(number)).write_bytes(os.urandom(MIB))
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
    """Let so many files pass; tell which of them stay."""
    for number in range(count):
        share.passed(str(tree / str(number)), 0, MIB)
    return stay(tree)


def stay(tree: Path) -> list[bool]:
    return [cached(tree / str(number)) > 0.5 for number in range(4)]


def test_the_newest_stay(tree: Path) -> None:
    """What does not fit into the share goes, the oldest first; what it holds is not changed."""
    before = [(tree / str(number)).read_bytes() for number in range(4)]
    assert passed(BoundedPageCache(2 * MIB), tree) == [False, False, True, True]
    assert [(tree / str(number)).read_bytes() for number in range(4)] == before


def test_what_fits_stays(tree: Path) -> None:
    """An install within the share leaves its files to be read by the engine, when its tree is complete as well."""
    share = BoundedPageCache(4 * MIB)
    assert passed(share, tree) == [True] * 4
    share.leave(str(tree))
    assert stay(tree) == [True] * 4


def test_a_complete_tree_goes_wholly_where_more_than_the_share_passed(tree: Path) -> None:
    """Its files are about to get other names, and must not be forgotten in the cache one tree after the other."""
    share = BoundedPageCache(2 * MIB)
    passed(share, tree)
    share.leave(str(tree / "other"))
    assert stay(tree) == [False, False, True, True]
    share.leave(str(tree))
    assert stay(tree) == [False] * 4


def test_small_pieces_cost_no_calls(tree: Path) -> None:
    """A hundred thousand small files are left to the kernel."""
    share = BoundedPageCache(0)
    for start in range(0, MIB, SMALL // 2):
        share.passed(str(tree / "0"), start, SMALL // 2)
    assert stay(tree)[0]


def test_a_file_that_is_gone_is_no_fault(tree: Path) -> None:
    """A run beside this one has published it, or a link lies in its place."""
    share = BoundedPageCache(0)
    share.passed(str(tree / "none"), 0, MIB)
    (tree / "link").symlink_to("0")
    share.passed(str(tree / "link"), 0, MIB)
    assert stay(tree)[0]


@pytest.mark.parametrize("number", [95, 22, 29])
def test_a_file_system_without_such_calls_is_no_fault(tree: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """ENOSYS, EINVAL and ESPIPE mean that the kernel knows better."""
    answers(monkeypatch, number)
    assert any(passed(BoundedPageCache(MIB), tree))


def test_a_disk_that_cannot_write_is_told(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk reports of the write-back is raised, for nothing may be published then."""
    answers(monkeypatch, 5)
    with pytest.raises(OSError, match="Input/output error"):
        BoundedPageCache(MIB).passed(str(tree / "0"), 0, MIB)


def answers(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let sync_file_range fail with an errno."""

    def failing(*_: Any) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(files, "_sync_file_range", lambda: failing)


def test_everything_can_be_left_to_the_kernel(tree: Path) -> None:
    """Who has no share to keep to does nothing."""
    pages = NoPageCachePolicy()
    pages.passed(str(tree / "0"), 0, MIB)
    pages.leave(str(tree))
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
def test_the_share_is_a_quarter_of_what_can_be_had(available: int | None, limit: int | None, expected: int) -> None:
    """Of the machine's available memory or the control group's limit, whichever is less, within bounds."""
    assert cache_share(available, limit) == expected


def test_the_machine_tells_what_is_available(tmp_path: Path) -> None:
    """In bytes, or nothing where the kernel is too old to say."""
    assert (available_bytes() or 0) > MIB
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\nMemAvailable:    2048 kB\n")
    assert available_bytes(tmp_path / "meminfo") == 2 * MIB
    (tmp_path / "meminfo").write_text("MemTotal: 10 kB\n")
    assert available_bytes(tmp_path / "meminfo") is None
    assert available_bytes(tmp_path / "none") is None
