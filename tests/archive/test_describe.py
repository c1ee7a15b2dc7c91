"""`models-pack describe` writes what a site needs for an archive, and refuses what a site would refuse."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import MANIFEST_NAME, OpaqueArchive, parse, published
from models_init.publish.cli.main import main
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
    """A tree of 3 files, 2 directories, 7 bytes."""
    return packed(write(tmp_path / "tree", {"a": b"12345", "d/b": b"67", "d/c": b"", "e/": b""}))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_is_described(
    suffix: str, stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Archive and manifest stand in NAME/VERSION; the archive takes no room twice; its name stays."""
    archive = tmp_path / f"model.{suffix}"
    archive.write_bytes(SUFFIXES[suffix](stream))
    assert main(["describe", str(archive), *_NAMED, "--out", str(tmp_path / "out"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    directory = tmp_path / "out/nl-nl/2026.04"
    assert sorted(path.name for path in directory.iterdir()) == [MANIFEST_NAME, archive.name]
    assert (directory / archive.name).samefile(archive)
    found = published((directory / MANIFEST_NAME).read_bytes(), REF).manifest
    assert found.plain == OpaqueArchive(size=7, entries=5)
    assert (told["size"], told["entries"], told["archive"]["digest"]) == (7, 5, found.archive.digest)
    assert main(["check", str(directory)]) == 0
    assert "nl-nl/2026.04: sound: a plain archive" in capsys.readouterr().out


def test_describing_again_changes_nothing(stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same archive is the same pack; another one under that name and version is refused."""
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


def test_an_archive_in_its_place_stays_there(stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies in NAME/VERSION already needs its manifest alone; without --out it is the directory one stands in."""
    directory = tmp_path / "nl-nl/2026.04"
    directory.mkdir(parents=True)
    (directory / "model.tar").write_bytes(stream)
    monkeypatch.chdir(tmp_path)
    assert main(["describe", "nl-nl/2026.04/model.tar", *_NAMED]) == 0
    assert (directory / MANIFEST_NAME).exists()
    assert (directory / "model.tar").stat().st_nlink == 1


def test_where_links_are_refused_it_is_copied(
    stream: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another file system, or one without hard links."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    (tmp_path / "model.tar").write_bytes(stream)
    monkeypatch.setattr(os, "link", refuse)
    assert main(["describe", str(tmp_path / "model.tar"), *_NAMED, "--out", str(tmp_path / "out")]) == 0
    copy = tmp_path / "out/nl-nl/2026.04/model.tar"
    assert copy.read_bytes() == stream
    assert copy.stat().st_nlink == 1
    assert "described" in capsys.readouterr().out


_TAKEN = {"zstd: bomb", "gzip: bomb", "size of 8 GiB and nothing behind"}
"""What is refused for its size alone: the publisher's own archive may be as large as he likes."""


@pytest.mark.parametrize(
    "hostile",
    [one for one in HOSTILE if one.name not in _TAKEN],
    ids=[one.name for one in HOSTILE if one.name not in _TAKEN],
)
def test_what_a_site_would_refuse_is_refused(
    hostile: Hostile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the same words, with exit code 10, and nothing is written."""
    (tmp_path / "model.tar").write_bytes(hostile.archive)
    assert main(["describe", str(tmp_path / "model.tar"), *_NAMED, "--out", str(tmp_path / "out")]) == 10
    assert " ".join(hostile.words.split()) in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "fault"), [("model tar", "not a name for an archive"), ("manifest.json.tar", "not a name for an archive")]
)
def test_names_that_no_archive_can_have(
    name: str, fault: str, stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They become parts of URLs."""
    (tmp_path / name).write_bytes(stream)
    assert main(["describe", str(tmp_path / name), *_NAMED, "--out", str(tmp_path / "out")]) == 2
    assert fault in capsys.readouterr().err
    assert main(["describe", str(tmp_path / "absent"), *_NAMED]) == 2


@pytest.mark.parametrize(
    ("plain", "fault"),
    [
        (OpaqueArchive(size=8), (10, "it holds 7 bytes, not 8 as its manifest says")),
        (OpaqueArchive(entries=4), (10, "more than 4 files and directories")),
        (None, (30, "the archive's SHA-256 differs")),
    ],
)
def test_check_finds_what_is_wrong(
    plain: OpaqueArchive | None,
    fault: tuple[int, str],
    stream: bytes,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Numbers that are not true, bytes that are others."""
    publish(tmp_path / "out", stream, REF, "model.tar", plain or OpaqueArchive())
    if not plain:
        (tmp_path / "out/nl-nl/2026.04/model.tar").write_bytes(b"?" + stream[1:])
    assert main(["check", str(tmp_path / "out")]) == fault[0]
    assert fault[1] in capsys.readouterr().out


def test_an_upgrade_to_a_plain_archive_costs_all_of_it(
    stream: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Compare says so."""
    old = pack(tmp_path, {"a": b"12345"}).path
    publish(tmp_path / "new", stream, REF, "model.tar", OpaqueArchive(7, 5))
    assert main(["compare", str(old), str(tmp_path / "new/nl-nl/2026.04"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["bytes_to_fetch"] > len(stream)
    assert (told["bytes_new"], told["bytes_linked"], told["requests"]) == (7, 0, 2)


def test_from_an_archive_to_a_site(stream: bytes, tmp_path: Path, azurite: Azurite) -> None:
    """Described, uploaded to a container, installed from there."""
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
