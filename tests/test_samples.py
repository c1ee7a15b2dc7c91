"""The sample trees of tests, demo and benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from tests.samples import MIB, Shape, main, same_tree, upgrade, write_tree

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_PIECE = 4 * MIB


def test_same_seed_gives_the_same_tree(tmp_path: Path) -> None:
    """A tree depends only on shape and seed."""
    one, other = write_tree(tmp_path / "one"), write_tree(tmp_path / "other")
    assert same_tree(one, other) == []
    different = write_tree(tmp_path / "different", seed="en-us")
    assert {line.rpartition(": ")[2] for line in same_tree(one, different)} == {"bytes differ"}


def test_large_files_compress_like_weights(tmp_path: Path) -> None:
    """Sizes are exact, no two pieces are equal, and zstd compresses `weights` to 0.8 to 0.9, and `dense` not at all."""
    shape = Shape(texts=0, weights=(12 * MIB + 1, 1, 0), dense=(9 * MIB,), unusual=False)
    write_tree(tmp_path, shape)
    weights, dense = tmp_path / "am/final-0.weights", tmp_path / "graph/HCLG-0.bin"
    sizes = [path.stat().st_size for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert sizes == [12 * MIB + 1, 1, 0, 9 * MIB]
    pieces = [path.read_bytes()[at : at + _PIECE] for path in (weights, dense) for at in range(0, 9 * MIB, _PIECE)]
    assert len(set(pieces)) == 6
    ratios = [len(zstandard.compress(piece)) / len(piece) for piece in pieces]
    assert all(0.8 < ratio < 0.9 for ratio in ratios[:3])
    assert all(ratio > 0.99 for ratio in ratios[3:])


def test_command_line_writes_a_tree_of_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size is approximate; a second call upgrades the tree."""
    monkeypatch.setattr("sys.argv", ["samples", str(tmp_path / "tree"), "--size", "8M"])
    main()
    total = sum(path.stat().st_size for path in (tmp_path / "tree").rglob("*") if path.is_file())
    assert 8 * MIB <= total < 9 * MIB
    before = write_tree(tmp_path / "before", Shape.of_size(8 * MIB))
    assert same_tree(before, tmp_path / "tree") == []
    monkeypatch.setattr("sys.argv", ["samples", str(tmp_path / "tree"), "--upgrade"])
    main()
    assert same_tree(before, tmp_path / "tree")


def test_upgrade_contains_each_kind_of_change(tmp_path: Path) -> None:
    """Files are added, removed, renamed, and changed in bytes or mode; most stay the same."""
    old, new = write_tree(tmp_path / "old"), write_tree(tmp_path / "new")
    upgrade(new)
    differences = same_tree(old, new)
    for kind in ("only in", "new.conf", "renamed.txt", "-rw-r--r-- and -rwxr-xr-x", "am/final-0.weights: bytes differ"):
        assert any(kind in line for line in differences)
    assert len(differences) < len(list(old.rglob("*"))) // 2


def test_each_difference_between_trees_is_found(tmp_path: Path) -> None:
    """Names, types, permissions, link targets and bytes are compared, also if size and time are equal."""
    one, other = tmp_path / "one", tmp_path / "other"
    for tree, data in ((one, b"1"), (other, b"2")):
        (tree / "sub").mkdir(parents=True)
        (tree / "bytes").write_bytes(data)
        (tree / "mode").touch(0o644 if data == b"1" else 0o600)
        (tree / "link").symlink_to(data.decode())
        (tree / data.decode()).touch()
    (one / "type").mkdir()
    (other / "type").touch(0o755)
    (other / "sub").chmod(0o700)
    found = [line.replace(str(tmp_path), "") for line in same_tree(one, other)]
    assert found == [
        "only in /one: 1",
        "only in /other: 2",
        "link: lrwxrwxrwx -> 1 and lrwxrwxrwx -> 2",
        "mode: -rw-r--r-- and -rw-------",
        "sub: drwxr-xr-x and drwx------",
        "type: drwxr-xr-x and -rwxr-xr-x",
        "bytes: bytes differ",
    ]
