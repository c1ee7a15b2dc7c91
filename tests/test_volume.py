"""The tree that a site trusts: what counts as installed and current, and how a tree gets its public name."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import NotWritableError, VolumeError
from models_init.core.pack_ref import PackRef
from models_init.formats.release import Release, release_of
from models_init.transfer.chunk_io import digest_of
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume

if TYPE_CHECKING:
    from pathlib import Path

_COMMON, _DUTCH, _NEWER = PackRef("common", "1"), PackRef("nl-nl", "1"), PackRef("nl-nl", "2")
_DOCUMENT = b'{"a": "manifest"}'
_DIGEST = digest_of(_DOCUMENT)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    made = Volume(tmp_path / "models")
    made.prepare()
    return made


def stage(volume: Volume, ref: PackRef) -> None:
    """Bring a tree of one file into staging."""
    volume.keep_manifest(ref, _DIGEST, _DOCUMENT)
    staging = volume.staging_path(ref, _DIGEST)
    staging.mkdir()
    (staging / "file").write_text(str(ref))


def install(volume: Volume, *refs: PackRef, created: str = "2026-01-01") -> Release:
    """Publish packs and make them current."""
    for ref in refs:
        stage(volume, ref)
        volume.publish(ref, _DIGEST)
    release = release_of(dict.fromkeys(refs, _DIGEST), created=created, source="here", program="test")
    Switch(volume).install(release)
    return release


def tree(volume: Volume) -> list[str]:
    """Everything on the volume but the notes about activations."""
    return sorted(str(path.relative_to(volume.root)) for path in volume.root.rglob("*") if path.name[0] != ".")


# -- preparing


def test_preparing_makes_the_directories(tmp_path: Path) -> None:
    """The volume and its parts are made, open to readers; a second time changes nothing; nothing else is left."""
    volume = Volume(tmp_path / "models")
    for _ in range(2):
        volume.prepare()
        assert tree(volume) == ["manifests", "packs", "releases", "staging"]
    assert os.listdir(volume.staging) == []
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in (volume.root, *volume.root.iterdir()))


def test_a_volume_may_be_named_relatively(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MODELS_DIR=models means the directory below the working directory."""
    monkeypatch.chdir(tmp_path)
    from pathlib import Path as RealPath  # noqa: PLC0415 # only annotations know it above

    volume = Volume(RealPath("models"))
    assert volume.free()[0] > 0
    volume.prepare()
    assert install(volume, _COMMON) == volume.current()


def test_a_volume_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file, or a directory whose parent is missing, is a `NotWritableError`; nothing is made."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none/models", tmp_path / "file/models"):
        with pytest.raises(NotWritableError):
            Volume(path).prepare()
    assert os.listdir(tmp_path) == ["file"]


def test_free_space_is_that_of_the_file_system(tmp_path: Path) -> None:
    """A volume that is not made yet has the room of the directory that will hold it."""
    free, inodes = Volume(tmp_path / "not/yet/there").free()
    status = os.statvfs(tmp_path)
    assert abs(free - status.f_bavail * status.f_frsize) < 1 << 30
    assert inodes > 0


# -- publishing


def test_publishing_gives_the_public_name(volume: Volume) -> None:
    """Staging becomes the pack, its manifest the pack's manifest; nothing stays in staging."""
    stage(volume, _DUTCH)
    assert not volume.is_installed(_DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.is_installed(_DUTCH)
    assert volume.packs() == [_DUTCH]
    assert (volume.pack_path(_DUTCH) / "file").read_text() == "nl-nl 1"
    assert volume.manifest_path(_DUTCH).read_bytes() == _DOCUMENT
    assert (volume.staged(), volume.leftovers(), os.listdir(volume.staging / "nl-nl")) == ([], [], [])


def test_publishing_what_is_published_is_success(volume: Volume) -> None:
    """A run beside this one may have been faster: its pack stays, and staging goes."""
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    inode = volume.pack_path(_DUTCH).stat().st_ino
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.pack_path(_DUTCH).stat().st_ino == inode
    assert (volume.staged(), volume.leftovers()) == ([], [])


@pytest.mark.parametrize("junk", [False, True])
def test_what_is_not_whole_any_more_is_not_published(volume: Volume, junk: bool) -> None:  # noqa: FBT001 - a fact
    """Neither under a free name nor in place of a directory without a manifest."""
    stage(volume, _DUTCH)
    if junk:
        volume.pack_path(_DUTCH).mkdir(parents=True)
    with pytest.raises(VolumeError, match="run again"):
        volume.publish(_DUTCH, _DIGEST, lambda: False)
    assert not volume.is_installed(_DUTCH)


def test_a_directory_that_nobody_verified_is_no_pack(volume: Volume) -> None:
    """A directory in a pack's place without a manifest is not installed, and gives way to the verified tree."""
    junk = volume.pack_path(_DUTCH)
    junk.mkdir(parents=True)
    (junk / "junk").touch()
    assert not volume.is_installed(_DUTCH)
    assert volume.packs() == []
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert os.listdir(volume.pack_path(_DUTCH)) == ["file"]


def test_a_manifest_alone_is_no_pack(volume: Volume) -> None:
    """A manifest without its directory is not installed, and is no hindrance."""
    volume.manifest_path(_DUTCH).parent.mkdir()
    volume.manifest_path(_DUTCH).write_text("older")
    assert not volume.is_installed(_DUTCH)
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.manifest_path(_DUTCH).read_bytes() == _DOCUMENT


def test_a_staging_that_is_gone_is_told(volume: Volume) -> None:
    """Where somebody removed staging amid the work, nothing is published and the message says to run again."""
    with pytest.raises(VolumeError, match="nl-nl 1 is no longer in staging: another run removed it; run again"):
        volume.publish(_DUTCH, _DIGEST)
    assert not volume.is_installed(_DUTCH)


def test_a_manifest_of_each_content_has_a_staging_of_its_own(volume: Volume) -> None:
    """Two manifests of one version never share a directory; both are told as staged."""
    paths = [volume.staging_path(_DUTCH, digest_of(text)) for text in (b"one", b"two")]
    assert paths[0] != paths[1]
    for path in paths:
        path.mkdir(parents=True)
    assert [staged.ref for staged in volume.staged()] == [_DUTCH, _DUTCH]
    assert {staged.path for staged in volume.staged()} == set(paths)


# -- what is current


def test_an_empty_volume_has_nothing(volume: Volume) -> None:
    """No release, no pack, nothing current."""
    assert (volume.current(), volume.releases(), volume.packs(), volume.staged()) == (None, [], [], [])


def test_a_volume_that_is_not_there_has_nothing(tmp_path: Path) -> None:
    """Reading needs no preparation."""
    volume = Volume(tmp_path / "none")
    assert (volume.current(), volume.releases(), volume.packs(), volume.staged()) == (None, [], [], [])


def test_activation_leads_to_the_whole_set(volume: Volume) -> None:
    """`current` is a relative link to the release, which has one relative link for each pack."""
    release = install(volume, _COMMON, _DUTCH)
    assert volume.current() == release
    assert os.readlink(volume.root / "current") == f"releases/{release.id}"
    assert (volume.root / "current/nl-nl/file").read_text() == "nl-nl 1"
    assert os.readlink(volume.root / "current/nl-nl") == "../../packs/nl-nl/1"
    moved = Volume(volume.root.rename(volume.root.with_name("moved")))
    assert moved.current() == release
    assert (moved.root / "current/common/file").read_text() == "common 1"


def test_activation_replaces_the_release(volume: Volume) -> None:
    """A new set takes the place of the old one, which stays installed."""
    old = install(volume, _COMMON, _DUTCH)
    new = install(volume, _COMMON, _NEWER, created="2026-01-02")
    assert volume.current() == new
    assert volume.releases() == [old, new]
    assert volume.packs() == [_COMMON, _DUTCH, _NEWER]


def test_a_release_that_is_there_keeps_its_record(volume: Volume) -> None:
    """Installing the same set again changes neither the record nor its time."""
    first = install(volume, _COMMON)
    install(volume, _COMMON, created="2027-01-01")
    assert volume.current() == first


@pytest.mark.parametrize(
    "damage",
    [
        "pack gone",
        "manifest gone",
        "record gone",
        "record torn",
        "record of another",
        "release gone",
        "no link",
        "directory",
    ],
)
def test_what_is_not_whole_is_not_current(volume: Volume, damage: str) -> None:
    """A release without its record, a pack or a manifest is not current, whatever the link says."""
    release = install(volume, _COMMON, _DUTCH)
    other = install(volume, _COMMON, _NEWER)
    current, directory = volume.root / "current", volume.release_path(other.id)
    match damage:
        case "pack gone":
            volume.remove_atomically(volume.pack_path(_NEWER))
        case "manifest gone":
            volume.manifest_path(_NEWER).unlink()
        case "record gone":
            (directory / "release.json").unlink()
        case "record torn":
            os.truncate(directory / "release.json", 100)
        case "record of another":
            (directory / "release.json").write_bytes(release.encode())
        case "release gone":
            volume.remove_atomically(directory)
        case "no link":
            current.unlink()
        case _:
            current.unlink()
            current.mkdir()
    assert volume.current() is None
    assert release in volume.releases()


def test_strange_names_are_not_taken_for_ours(volume: Volume) -> None:
    """Files and directories that nobody of us made are neither packs nor releases."""
    release = install(volume, _COMMON)
    for name in (
        "lost+found/x",
        "packs/UPPER/1",
        "packs/nl-nl/.hidden",
        "releases/strange",
        "staging/.x/y",
        "packs/a b/1",
    ):
        (volume.root / name).mkdir(parents=True)
    (volume.root / "packs/file").touch()
    (volume.root / "releases/file").touch()
    assert (volume.packs(), volume.releases(), volume.staged()) == ([_COMMON], [release], [])


# -- removing


def test_what_is_discarded_is_out_of_sight_first(volume: Volume) -> None:
    """One rename hides the tree, then it is deleted; the pack's directory is removed with its last version."""
    install(volume, _DUTCH, _COMMON)
    stage(volume, _NEWER)
    volume.publish(_NEWER, _DIGEST)
    volume.remove_atomically(volume.pack_path(_DUTCH))
    assert os.listdir(volume.root / "packs/nl-nl") == ["2"]
    volume.remove_atomically(volume.pack_path(_NEWER))
    assert os.listdir(volume.root / "packs") == ["common"]
    volume.remove_atomically(volume.pack_path(_NEWER))
    assert volume.leftovers() == []


def test_links_are_removed_and_not_followed(volume: Volume, tmp_path: Path) -> None:
    """Discarding a link, or a tree with links in it, leaves what they lead to."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keep").touch()
    (volume.root / "packs/x").mkdir()
    (volume.root / "packs/x/link").symlink_to(tmp_path / "outside")
    volume.remove_atomically(volume.root / "packs/x/link")
    (volume.root / "packs/y/1").mkdir(parents=True)
    (volume.root / "packs/y/1/link").symlink_to(tmp_path / "outside")
    volume.remove_atomically(volume.root / "packs/y/1")
    assert os.listdir(tmp_path / "outside") == ["keep"]


def test_a_small_file_is_replaced_at_once(volume: Volume) -> None:
    """`replace` leaves the old content or the new one, and nothing else."""
    path = volume.root / "note"
    for content in (b"one", random.Random("two").randbytes(100_000), b""):
        volume.replace(path, content)
        assert path.read_bytes() == content
    assert os.listdir(volume.staging) == []


def test_what_killed_runs_left_is_found(volume: Volume) -> None:
    """Names that no pack can have are told as debris, and are neither packs nor staged."""
    (volume.staging / ".trash-1").mkdir()
    (volume.staging / ".link-2").touch()
    assert [path.name for path in volume.leftovers()] == [".link-2", ".trash-1"]
    assert volume.staged() == []


def test_packs_of_use_come_in_a_good_order(volume: Volume) -> None:
    """The trees to look for chunks in: versions of the same packs first, the newest before all, staging last."""
    install(volume, _COMMON, _DUTCH)
    stage(volume, _NEWER)
    volume.publish(_NEWER, _DIGEST)
    stage(volume, PackRef("en-us", "1"))
    found = [(str(holding.ref), holding.whole) for holding in volume.seed_trees({"nl-nl"})]
    assert found == [("nl-nl 2", True), ("nl-nl 1", True), ("common 1", True), ("en-us 1", False)]
