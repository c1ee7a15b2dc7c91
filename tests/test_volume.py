"""The volume's layout: installed packs, the current release, publishing and removing."""

from __future__ import annotations

import errno
import os
import random
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from models_init.core.digests import digest_of
from models_init.core.errors import NoSpaceError, NotWritableError, VolumeError
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import SCHEMA, Archive, File, Manifest, encode
from models_init.formats.release import Release, release_of
from models_init.fs import capabilities
from models_init.fs.capabilities import NameRules
from models_init.install.volume_checks import check_names
from models_init.volume.activation import Switch
from models_init.volume.history import History
from models_init.volume.layout import UNLIMITED, Volume
from models_init.volume.site_id import site_id

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
    """Create a tree of one file in staging."""
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
    """Return all paths of the volume except the history."""
    return sorted(str(path.relative_to(volume.root)) for path in volume.root.rglob("*") if path.name[0] != ".")


# -- preparing


def test_prepare_creates_directories(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "models")
    for _ in range(2):
        volume.prepare()
        assert tree(volume) == ["manifests", "packs", "releases", "staging"]
    assert os.listdir(volume.staging) == []
    assert all(path.stat().st_mode & 0o777 == 0o755 for path in (volume.root, *volume.root.iterdir()))


def test_relative_path_of_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    from pathlib import Path as RealPath  # noqa: PLC0415 # the import above is for annotations only

    volume = Volume(RealPath("models"))
    assert volume.free()[0] > 0
    volume.prepare()
    assert install(volume, _COMMON) == volume.current()


def test_impossible_volume_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "none/models", tmp_path / "file/models"):
        with pytest.raises(NotWritableError):
            Volume(path).prepare()
    assert os.listdir(tmp_path) == ["file"]


def test_free_space_is_that_of_nearest_existing_directory(tmp_path: Path) -> None:
    free, inodes = Volume(tmp_path / "not/yet/there").free()
    status = os.statvfs(tmp_path)
    assert abs(free - status.f_bavail * status.f_frsize) < 1 << 30
    assert inodes > 0


# -- publishing


def test_publish_moves_tree_and_manifest_from_staging(volume: Volume) -> None:
    stage(volume, _DUTCH)
    assert not volume.is_installed(_DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.is_installed(_DUTCH)
    assert volume.packs() == [_DUTCH]
    assert (volume.pack_path(_DUTCH) / "file").read_text() == "nl-nl 1"
    assert volume.manifest_path(_DUTCH).read_bytes() == _DOCUMENT
    assert (volume.staged(), volume.leftovers(), os.listdir(volume.staging / "nl-nl")) == ([], [], [])


@pytest.mark.parametrize("manifest_exists", [False, True])
def test_publish_replaces_an_empty_directory(volume: Volume, manifest_exists: bool) -> None:  # noqa: FBT001 - parametrized
    """The directory may appear at any time: before the publish, or between the renames of the manifest and the tree."""
    stage(volume, _DUTCH)
    volume.pack_path(_DUTCH).mkdir(parents=True)
    if manifest_exists:
        volume.manifest_path(_DUTCH).parent.mkdir()
        volume.manifest_path(_DUTCH).write_bytes(_DOCUMENT)
    assert not volume.is_installed(_DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.is_installed(_DUTCH)
    assert (volume.pack_path(_DUTCH) / "file").read_text() == "nl-nl 1"
    assert (volume.staged(), volume.leftovers()) == ([], [])


def test_pack_without_files_is_installed_as_an_empty_directory(volume: Volume) -> None:
    empty = Manifest(SCHEMA, _DUTCH.name, _DUTCH.version, Archive("pack.tar.zst", 1, _DIGEST), (), ())
    volume.pack_path(_DUTCH).mkdir(parents=True)
    volume.manifest_path(_DUTCH).parent.mkdir()
    volume.manifest_path(_DUTCH).write_bytes(encode(empty))
    assert volume.is_installed(_DUTCH)


def test_publish_of_published_pack_succeeds(volume: Volume) -> None:
    """A concurrent run may have published it."""
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    inode = volume.pack_path(_DUTCH).stat().st_ino
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.pack_path(_DUTCH).stat().st_ino == inode
    assert (volume.staged(), volume.leftovers()) == ([], [])


@pytest.mark.parametrize("junk", [False, True])
def test_changed_staging_is_not_published(volume: Volume, junk: bool) -> None:  # noqa: FBT001 - parametrized
    stage(volume, _DUTCH)
    if junk:
        volume.pack_path(_DUTCH).mkdir(parents=True)
    with pytest.raises(VolumeError, match="run again"):
        volume.publish(_DUTCH, _DIGEST, lambda: False)
    assert not volume.is_installed(_DUTCH)


def test_directory_without_manifest_is_replaced(volume: Volume) -> None:
    junk = volume.pack_path(_DUTCH)
    junk.mkdir(parents=True)
    (junk / "junk").touch()
    assert not volume.is_installed(_DUTCH)
    assert volume.packs() == []
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert os.listdir(volume.pack_path(_DUTCH)) == ["file"]


def test_manifest_without_directory_is_replaced(volume: Volume) -> None:
    volume.manifest_path(_DUTCH).parent.mkdir()
    volume.manifest_path(_DUTCH).write_text("older")
    assert not volume.is_installed(_DUTCH)
    stage(volume, _DUTCH)
    volume.publish(_DUTCH, _DIGEST)
    assert volume.manifest_path(_DUTCH).read_bytes() == _DOCUMENT


def test_missing_staging_is_reported(volume: Volume) -> None:
    with pytest.raises(VolumeError, match="nl-nl 1 is no longer in staging: another run removed it; run again"):
        volume.publish(_DUTCH, _DIGEST)
    assert not volume.is_installed(_DUTCH)


def test_each_manifest_has_its_own_staging_directory(volume: Volume) -> None:
    paths = [volume.staging_path(_DUTCH, digest_of(text)) for text in (b"one", b"two")]
    assert paths[0] != paths[1]
    for path in paths:
        path.mkdir(parents=True)
    assert [staged.ref for staged in volume.staged()] == [_DUTCH, _DUTCH]
    assert {staged.path for staged in volume.staged()} == set(paths)


# -- the current release


def test_empty_volume_has_no_content(volume: Volume) -> None:
    assert (volume.current(), volume.releases(), volume.packs(), volume.staged()) == (None, [], [], [])


def test_missing_volume_has_no_content(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "none")
    assert (volume.current(), volume.releases(), volume.packs(), volume.staged()) == (None, [], [], [])


def test_activation_links_all_packs_relatively(volume: Volume) -> None:
    release = install(volume, _COMMON, _DUTCH)
    assert volume.current() == release
    assert os.readlink(volume.root / "current") == f"releases/{release.id}"
    assert (volume.root / "current/nl-nl/file").read_text() == "nl-nl 1"
    assert os.readlink(volume.root / "current/nl-nl") == "../../packs/nl-nl/1"
    moved = Volume(volume.root.rename(volume.root.with_name("moved")))
    assert moved.current() == release
    assert (moved.root / "current/common/file").read_text() == "common 1"


def test_activation_replaces_release_and_keeps_older_one(volume: Volume) -> None:
    old = install(volume, _COMMON, _DUTCH)
    new = install(volume, _COMMON, _NEWER, created="2026-01-02")
    assert volume.current() == new
    assert volume.releases() == [old, new]
    assert volume.packs() == [_COMMON, _DUTCH, _NEWER]


def test_rollback_just_after_activation_is_kept(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator rolls back while an install, which has already switched, has not ended yet."""
    old = install(volume, _COMMON, _DUTCH)
    append = History.append

    def roll_back_first(history: History, release_id: str, kind: str = "") -> None:
        monkeypatch.setattr(History, "append", append)
        Switch(volume).activate(Switch(volume).previous(), back=True)
        append(history, release_id, kind)

    monkeypatch.setattr(History, "append", roll_back_first)
    new = install(volume, _COMMON, _NEWER, created="2026-01-02")
    assert volume.current() == old
    assert Switch(volume).rolled_back([_COMMON, _NEWER]) == new


def test_existing_release_keeps_its_record(volume: Volume) -> None:
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
def test_incomplete_release_is_not_current(volume: Volume, damage: str) -> None:
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


def test_foreign_names_are_ignored(volume: Volume) -> None:
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


def test_removal_deletes_empty_parent_with_last_version(volume: Volume) -> None:
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
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/keep").touch()
    (volume.root / "packs/x").mkdir()
    (volume.root / "packs/x/link").symlink_to(tmp_path / "outside")
    volume.remove_atomically(volume.root / "packs/x/link")
    (volume.root / "packs/y/1").mkdir(parents=True)
    (volume.root / "packs/y/1/link").symlink_to(tmp_path / "outside")
    volume.remove_atomically(volume.root / "packs/y/1")
    assert os.listdir(tmp_path / "outside") == ["keep"]


def test_replace_leaves_only_new_content(volume: Volume) -> None:
    path = volume.root / "note"
    for content in (b"one", random.Random("two").randbytes(100_000), b""):
        volume.replace(path, content)
        assert path.read_bytes() == content
    assert os.listdir(volume.staging) == []


@pytest.mark.parametrize(
    "place",
    ["manifests/nl-nl/1.json", "releases/.history", "releases/{id}/release.json", "staging/nl-nl/1@{digest}.json"],
)
def test_empty_directory_in_place_of_a_file_is_replaced(volume: Volume, place: str) -> None:
    release = release_of({_DUTCH: _DIGEST}, "2026-01-01", source="", program="")
    path = volume.root / place.format(id=release.id, digest=volume.staging_path(_DUTCH, _DIGEST).name[-12:])
    path.mkdir(parents=True)
    assert install(volume, _DUTCH) == volume.current()
    assert not path.is_dir()


def test_directory_with_files_in_place_of_a_file_is_kept_and_reported(volume: Volume) -> None:
    path = volume.manifest_path(_DUTCH) / "inside"
    path.mkdir(parents=True)
    with pytest.raises(VolumeError, match=r"1\.json failed: Is a directory; .* move it away"):
        install(volume, _DUTCH)
    assert path.exists()


def test_dangling_link_in_place_of_a_directory_is_named(volume: Volume) -> None:
    (volume.root / "packs").rmdir()
    (volume.root / "packs").symlink_to("nowhere")
    with pytest.raises(NotWritableError, match="packs is a symbolic link"):
        volume.prepare()


def test_empty_directory_in_place_of_site_id_is_replaced(volume: Volume) -> None:
    (volume.root / "releases/.site-id").mkdir()
    assert site_id(volume) == site_id(volume)


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_failed_change_leaves_no_temporary_file(volume: Volume, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    release = release_of({_COMMON: digest_of(b"")}, "2026-01-01", source="", program="")
    monkeypatch.setattr(os, call, no_space)
    with pytest.raises(OSError, match="No space"):
        volume.replace(volume.root / "note", b"text")
    with pytest.raises(OSError, match="No space"):
        volume.replace_link(volume.root / "link", "target")
    with pytest.raises(NoSpaceError):
        Switch(volume).stage(release)
    with pytest.raises(OSError, match="No space"):
        capabilities.change(volume.staging)
    assert volume.leftovers() == []


def test_leftovers_of_killed_runs_are_listed(volume: Volume) -> None:
    (volume.staging / ".trash-1").mkdir()
    (volume.staging / ".link-2").touch()
    assert [path.name for path in volume.leftovers()] == [".link-2", ".trash-1"]
    assert volume.staged() == []


def test_seed_trees_are_ordered_by_likely_use(volume: Volume) -> None:
    """Newer versions of the same pack come first, staging last."""
    install(volume, _COMMON, _DUTCH)
    stage(volume, _NEWER)
    volume.publish(_NEWER, _DIGEST)
    stage(volume, PackRef("en-us", "1"))
    found = [(str(seed.ref), seed.complete) for seed in volume.seed_trees({"nl-nl"})]
    assert found == [("nl-nl 2", True), ("nl-nl 1", True), ("common 1", True), ("en-us 1", False)]


# -- file systems


def reporting(monkeypatch: pytest.MonkeyPatch, **fields: int) -> None:
    """Let statvfs report these values."""
    real = os.statvfs

    def statvfs(path: str | Path) -> SimpleNamespace:
        status = real(path)
        values = {name: getattr(status, name) for name in dir(status) if name.startswith("f_")}
        return SimpleNamespace(**values | fields)

    monkeypatch.setattr(os, "statvfs", statvfs)


def test_zero_free_inodes_are_full_only_if_no_file_can_be_created(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some file systems report 0 free inodes of a fictitious total."""
    reporting(monkeypatch, f_files=1000, f_ffree=0, f_favail=0)
    assert volume.free()[1] == UNLIMITED
    assert os.listdir(volume.staging) == []
    monkeypatch.setattr(os, "open", no_space)
    assert volume.free()[1] == 0


def no_space(*_arguments: object, **_options: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_uncounted_blocks_and_inodes_are_unlimited(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    reporting(monkeypatch, f_blocks=0, f_bavail=0, f_files=0, f_favail=0)
    assert volume.free() == (UNLIMITED, UNLIMITED)


def test_modes_of_unwritable_volume_are_unknown(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    assert volume.keeps_modes() is True
    monkeypatch.setattr(os, "open", no_space)
    assert volume.keeps_modes() is True, "the test runs once"
    assert Volume(volume.root).keeps_modes() is None


@pytest.mark.parametrize(
    ("changes", "files", "refused"),
    [
        ("case", ["a", "A"], "'A' and 'a' are the same path"),
        ("case", ["\u00e9", "e\u0301"], ""),
        ("form", ["\u00e9", "e\u0301"], r"'e\\u0301' and '\\xe9' are the same path"),
        ("form, names", ["\u00e9"], r"lists '\\xe9' under another name"),
        ("", ["a", "A", "\u00e9", "e\u0301"], ""),
    ],
)
def test_names_are_checked_by_rules_of_volume(
    changes: str, files: list[str], refused: str, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = NameRules("case" in changes, "form" in changes, "names" not in changes)
    monkeypatch.setattr(volume, "name_rules", lambda: rules)
    empty = digest_of(b"")
    content = tuple(File(name, 0, empty) for name in sorted(files))
    manifest = Manifest(SCHEMA, *_DUTCH, Archive("pack.tar.zst", 1024, empty), content)
    if not refused:
        check_names(volume, manifest)
        return
    with pytest.raises(NotWritableError, match=refused):
        check_names(volume, manifest)


def test_this_file_system_distinguishes_and_keeps_names(volume: Volume) -> None:
    assert volume.name_rules() == NameRules(ignores_case=False, ignores_form=False, keeps_names=True)
    assert os.listdir(volume.staging) == []
