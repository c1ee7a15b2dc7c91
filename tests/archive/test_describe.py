"""`models-pack describe` writes the manifest of an archive, and rejects archives that sites would reject."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UsageError
from models_init.core.events import NullObserver
from models_init.formats.manifest import MANIFEST_NAME, OpaqueArchive, parse, published
from models_init.publish.cli.main import main
from models_init.publish.pack.describe import describe
from tests.archive.archives import SUFFIXES, packed, publish
from tests.archive.hostile import HOSTILE, Hostile
from tests.publish.packs import REF, pack, write
from tests.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite

_NAMED = ("--name", REF.name, "--version", REF.version)


@pytest.fixture
def stream(tmp_path: Path) -> bytes:
    """Return the tar stream of a tree with 3 files, 2 directories and 7 bytes."""
    return packed(write(tmp_path / "tree", {"a": b"12345", "d/b": b"67", "d/c": b"", "e/": b""}))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_describe_writes_manifest_and_links_archive(
    suffix: str, stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """NAME/VERSION has the manifest and a hard link to the archive, under its own name."""
    archive = tmp_path / f"model.{suffix}"
    archive.write_bytes(SUFFIXES[suffix](stream))
    assert main(["describe", str(archive), *_NAMED, "--out", str(tmp_path / "out"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    directory = tmp_path / "out/nl-nl/2026.04"
    assert sorted(path.name for path in directory.iterdir()) == [MANIFEST_NAME, archive.name]
    assert (directory / archive.name).samefile(archive)
    found = published((directory / MANIFEST_NAME).read_bytes(), REF).manifest
    assert found.plain == OpaqueArchive(size=7, entries=5)
    assert (result["size"], result["entries"], result["archive"]["digest"]) == (7, 5, found.archive.digest)
    assert main(["check", str(directory)]) == 0
    assert "nl-nl/2026.04: valid: an opaque archive" in capsys.readouterr().out


def test_describing_twice_changes_nothing(stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another archive under the same name and version is rejected."""
    archive = tmp_path / "model.tar"
    archive.write_bytes(stream)
    described = ["describe", str(archive), *_NAMED, "--out", str(tmp_path / "out")]
    assert main(described) == 0
    document = (tmp_path / "out/nl-nl/2026.04/manifest.json").read_bytes()
    assert main(described) == 0
    assert "nl-nl 2026.04: unchanged in" in capsys.readouterr().out
    archive.unlink()
    archive.write_bytes(stream + bytes(512))
    assert main(described) == 2
    assert "a version never changes" in capsys.readouterr().err
    assert (tmp_path / "out/nl-nl/2026.04/manifest.json").read_bytes() == document


def test_archive_in_version_directory_stays(stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --out, NAME/VERSION is below the working directory."""
    directory = tmp_path / "nl-nl/2026.04"
    directory.mkdir(parents=True)
    (directory / "model.tar").write_bytes(stream)
    monkeypatch.chdir(tmp_path)
    assert main(["describe", "nl-nl/2026.04/model.tar", *_NAMED]) == 0
    assert (directory / MANIFEST_NAME).exists()
    assert (directory / "model.tar").stat().st_nlink == 1


def test_archive_is_copied_without_hard_links(
    stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The target is on another file system, or on one without hard links."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "model.tar").write_bytes(stream)
    monkeypatch.setattr(os, "link", refuse)
    assert main(["describe", str(tmp_path / "model.tar"), *_NAMED, "--out", str(tmp_path / "out")]) == 0
    copy = tmp_path / "out/nl-nl/2026.04/model.tar"
    assert copy.read_bytes() == stream
    assert copy.stat().st_nlink == 1
    assert "described" in capsys.readouterr().out


def test_archive_that_is_replaced_while_it_is_read_is_an_error(stream: bytes, tmp_path: Path) -> None:
    """The manifest would describe another archive than the linked one."""
    file, other = tmp_path / "model.tar", tmp_path / "other.tar"
    file.write_bytes(stream)
    other.write_bytes(bytes(len(stream)))

    class Replacing(NullObserver):
        def advance(self, _count: int, _pack: str = "", /) -> None:
            if other.exists():
                other.rename(file)

    with pytest.raises(UsageError, match="changed while it was read"):
        describe(file, REF, (), tmp_path / "out", Replacing())
    assert not (tmp_path / "out").exists()


_ACCEPTED_BY_DESCRIBE = {"zstd: bomb", "gzip: bomb", "size of 8 GiB without data"}
"""Archives that sites reject only for their size, which `describe` states in the manifest."""


@pytest.mark.parametrize(
    "hostile",
    [one for one in HOSTILE if one.name not in _ACCEPTED_BY_DESCRIBE],
    ids=[one.name for one in HOSTILE if one.name not in _ACCEPTED_BY_DESCRIBE],
)
def test_describe_rejects_archives_that_sites_reject(
    hostile: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message is the same, the exit code is 10, and nothing is written."""
    (tmp_path / "model.tar").write_bytes(hostile.archive)
    assert main(["describe", str(tmp_path / "model.tar"), *_NAMED, "--out", str(tmp_path / "out")]) == 10
    assert " ".join(hostile.words.split()) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "fault"),
    [("model tar", "cannot be the name of an archive"), ("manifest.json.tar", "cannot be the name of an archive")],
)
def test_invalid_archive_name_is_rejected(
    name: str, fault: str, stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name becomes part of a URL."""
    (tmp_path / name).write_bytes(stream)
    assert main(["describe", str(tmp_path / name), *_NAMED, "--out", str(tmp_path / "out")]) == 2
    assert fault in capsys.readouterr().err
    assert main(["describe", str(tmp_path / "absent"), *_NAMED]) == 2


@pytest.mark.parametrize(
    ("plain", "fault"),
    [
        (OpaqueArchive(size=8), (10, "it contains 7 bytes, not 8 as its manifest states")),
        (OpaqueArchive(entries=4), (10, "the limit of 4 files and directories")),
        (None, (30, "the archive's SHA-256 differs")),
    ],
)
def test_check_finds_wrong_totals_and_digest(
    plain: OpaqueArchive | None,
    fault: tuple[int, str],
    stream: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(tmp_path / "out", stream, REF, "model.tar", plain or OpaqueArchive())
    if not plain:
        (tmp_path / "out/nl-nl/2026.04/model.tar").write_bytes(b"?" + stream[1:])
    assert main(["check", str(tmp_path / "out")]) == fault[0]
    assert fault[1] in capsys.readouterr().out


def test_compare_counts_whole_opaque_archive(stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An upgrade to an opaque archive fetches all of it."""
    old = pack(tmp_path, {"a": b"12345"}).path
    publish(tmp_path / "new", stream, REF, "model.tar", OpaqueArchive(7, 5))
    assert main(["compare", str(old), str(tmp_path / "new/nl-nl/2026.04"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bytes_to_fetch"] > len(stream)
    assert (result["bytes_new"], result["bytes_linked"], result["requests"]) == (7, 0, 2)


def test_described_archive_is_uploaded_and_installed(stream: bytes, tmp_path: Path, azurite: Azurite) -> None:
    (tmp_path / "model.tar.gz").write_bytes(SUFFIXES["tar.gz"](stream))
    for name in ("nl-nl", "common"):
        options = ["--name", name, "--version", "2026.04", "--out", str(tmp_path / "out")]
        assert main(["describe", str(tmp_path / "model.tar.gz"), *options, *_requiring(name)]) == 0
    container = azurite.fresh_container()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODELS_SAS_TOKEN", container.sas("rwl"))
        patch.setenv("MODELS_ALLOW_HTTP", "1")
        assert main(["upload", str(tmp_path / "out"), "--url", container.container_url]) == 0
    site = Site(
        tmp_path / "models",
        {
            "REALTIME_LANGUAGES": "nl-nl",
            "REALTIME_LANGUAGE_VERSION": "2026.04",
            "REALTIME_COMMON_VERSION": "2026.04",
            "MODELS_URL": container.container_url,
            "MODELS_SAS_TOKEN": container.sas("rl"),
        },
    )
    assert site.run().code == 0
    assert (site.active("nl-nl") / "d/b").read_bytes() == b"67"
    document = (site.volume / "manifests/nl-nl/2026.04.json").read_bytes()
    assert parse(document, REF).requires[0].pack == "common"


def _requiring(name: str) -> list[str]:
    return ["--requires", "common=2026.04"] if name != "common" else []
