"""`models-pack compare --chunk-sizes` and `models-pack build --chunk-size auto`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import NoSpaceError, NotWritableError, UsageError, WrongBytesError
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MIB
from models_init.publish.cli.commands import compare as command
from models_init.publish.cli.main import main
from models_init.publish.inspection import chunk_sizes
from models_init.publish.inspection.chunk_sizes import CHUNK_SIZES, TOLERANCE, Estimate, estimates, recommended
from models_init.publish.inspection.compare_packs import compare
from models_init.publish.pack.slicing import AUTO, average_size
from models_init.publish.pack.version_directory import VersionDirectory
from tests.preflight.mounts import in_tmpfs
from tests.publish.packs import KIB, REF, archive_of, built, pack, write

if TYPE_CHECKING:
    from pathlib import Path

NEWER = PackRef(REF.name, "2026.07")
_WEIGHTS = random.Random(1).randbytes(6 * MIB)


def _changed(content: bytes) -> bytes:
    """Change eight places of 4 KiB, so that small chunks fetch less."""
    changed = bytearray(content)
    for start in range(100_000, len(content), len(content) // 8):
        changed[start : start + 4 * KIB] = random.Random(start).randbytes(4 * KIB)
    return bytes(changed)


OLD = {
    "am/final.bin": _WEIGHTS,
    "lm/words.zip": _WEIGHTS[: 2 * MIB],
    "same": _WEIGHTS[:99_000],
    "empty": b"",
    "s": b"s",
}
NEW = {**OLD, "am/final.bin": _changed(_WEIGHTS), "s": b"t"}


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[VersionDirectory, VersionDirectory]:
    """Two versions with the default chunk size."""
    directory = tmp_path_factory.mktemp("versions")
    return pack(directory, OLD), pack(directory, NEW, NEWER)


@pytest.fixture(scope="module")
def found(versions: tuple[VersionDirectory, VersionDirectory]) -> list[Estimate]:
    """The estimates for both versions."""
    return estimates(*versions, NullObserver())


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_estimate_equals_real_build(found: list[Estimate], tmp_path: Path, chunk_size: int) -> None:
    """The chunks are the same; only the length of unchanged frames, and so that of the manifest, is estimated."""
    old = built(write(tmp_path / "old", OLD), tmp_path, REF, chunk_size=chunk_size).manifest
    result = built(write(tmp_path / "new", NEW), tmp_path, NEWER, chunk_size=chunk_size)
    document = VersionDirectory(result.directory).document()
    real = compare(old, result.manifest, len(document))
    (estimate,) = (each for each in found if each.chunk_size == chunk_size)
    assert [[chunk.digest for chunk in file.chunks] for file in estimate.difference.new.files] == [
        [chunk.digest for chunk in file.chunks] for file in result.manifest.files
    ]
    assert estimate.difference.bytes_new == real.bytes_new
    assert estimate.manifest_bytes == pytest.approx(len(document), rel=0.01)
    assert estimate.difference.bytes_fetched == pytest.approx(real.bytes_fetched, rel=0.01)


def test_smallest_manifest_among_similar_downloads_is_recommended(found: list[Estimate]) -> None:
    best = recommended(found)
    least = min(each.difference.bytes_fetched for each in found)
    assert best.chunk_size == AUTO
    assert best.difference.bytes_fetched <= TOLERANCE * least
    equal = [Estimate(each.chunk_size, found[0].difference, each.manifest_bytes) for each in found]
    assert recommended(equal).chunk_size == MIB


def test_compare_prints_and_reports_chunk_sizes(
    versions: tuple[VersionDirectory, VersionDirectory], found: list[Estimate], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compare", *(str(directory.path) for directory in versions), "--chunk-sizes"]
    assert main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert main([*words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [row[0] for row in rows if row and row[0] in {"64KiB", "128KiB", "256KiB", "1MiB", "auto"}] == [
        "64KiB",
        "128KiB",
        "256KiB",
        "1MiB",
        "auto",
    ]
    assert [row[0] for row in rows if row and row[-1] == "recommended"] == ["auto"]
    assert [each["bytes_to_fetch"] for each in facts["chunk_sizes"]] == [
        each.difference.bytes_fetched for each in found
    ]
    assert facts["recommended_chunk_size"] == "auto"


def test_version_in_registry_is_refused(
    versions: tuple[VersionDirectory, VersionDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest can be read from a registry; the archive would have to be fetched."""
    old, new = versions
    monkeypatch.setattr(command, "_document", lambda _: (new.document(), new.ref()))
    parser = ArgumentParser()
    command.configure(parser)
    with pytest.raises(UsageError, match="is in a registry, and --chunk-sizes reads both archives"):
        command.run(parser.parse_args(["oci://registry.example/models/nl-nl:1", str(old.path), "--chunk-sizes"]))


def test_missing_archive_is_reported(tmp_path: Path) -> None:
    old, new = pack(tmp_path, {"a": b"1"}), pack(tmp_path, {"a": b"2"}, NEWER)
    archive_of(new).unlink()
    with pytest.raises(UsageError, match="No such file or directory; --chunk-sizes needs the archives of both"):
        estimates(old, new, NullObserver())


def test_damaged_archive_is_reported(tmp_path: Path) -> None:
    old, new = pack(tmp_path, {"a": _WEIGHTS[:MIB]}), pack(tmp_path, {"a": _WEIGHTS[MIB : 3 * MIB]}, NEWER)
    data = bytearray(archive_of(new).read_bytes())
    data[len(data) // 2] ^= 1
    archive_of(new).write_bytes(data)
    with pytest.raises(WrongBytesError, match="is damaged: its SHA-256 differs; run `models-pack check"):
        estimates(old, new, NullObserver())


def test_full_temporary_directory_is_reported(
    versions: tuple[VersionDirectory, VersionDirectory], tmp_path: Path
) -> None:
    """Each file is copied to it while chunks are cut."""
    words = [sys.executable, "-m", "models_init.publish", "compare", *(str(version.path) for version in versions)]
    done = subprocess.run(
        [*in_tmpfs(tmp_path, "size=1m"), *words, "--chunk-sizes"],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == NoSpaceError.exit_code
    why = f"{tmp_path} cannot be written: No space left on device"
    assert done.stderr == f"models-pack: error: {why}; free some space or choose another directory\n"


def test_no_usable_temporary_directory_is_reported(
    versions: tuple[VersionDirectory, VersionDirectory], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container whose file systems are all full or read-only."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    with pytest.raises(NotWritableError, match="no directory for temporary files can be written"):
        estimates(*versions, NullObserver())


@pytest.mark.parametrize(
    ("path", "size", "average"),
    [
        ("am/final.mdl", 1, 64 * KIB),
        ("am/final.mdl", 128 * MIB, 64 * KIB),
        ("am/final.mdl", 128 * MIB + 2048, 128 * KIB),
        ("am/final.mdl", 512 * MIB, 256 * KIB),
        ("am/final.mdl", 30 << 30, MIB),
        ("lm/words.ZIP", 1, MIB),
    ],
)
def test_automatic_chunk_size_depends_on_type_and_size(path: str, size: int, average: int) -> None:
    assert average_size(path, size, AUTO) == average
    assert average_size(path, size, 4 * KIB) == 4 * KIB


def test_build_cuts_each_file_at_its_automatic_size(tmp_path: Path) -> None:
    source = write(tmp_path / "source", OLD)
    assert (
        main(["build", str(source), "--name", "a", "--version", "1", "--out", str(tmp_path), "--chunk-size", "auto"])
        == 0
    )
    files = {file.path: file for file in VersionDirectory(tmp_path / "a" / "1").parsed().files}
    small, large = (built(source, tmp_path / str(size), chunk_size=size).manifest for size in (64 * KIB, MIB))
    for path, expected in (("am/final.bin", small), ("lm/words.zip", large)):
        (same,) = (file for file in expected.files if file.path == path)
        assert [chunk.digest for chunk in files[path].chunks] == [chunk.digest for chunk in same.chunks]


def test_shortest_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison of a pack of many small files takes only the time to read its manifests."""
    old, new = pack(tmp_path, {"a": b"1"}), pack(tmp_path, {"a": b"2"}, NEWER)
    monkeypatch.delattr(chunk_sizes, "_frame")
    assert {each.chunks for each in estimates(old, new, NullObserver())} == {1}
