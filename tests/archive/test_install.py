"""The program with opaque archives: install, resume after a kill, verify, repair, reject."""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.core.events import NullObserver
from models_init.formats.manifest import OpaqueArchive
from models_init.formats.manifest import parse as parse_manifest
from models_init.publish.pack.build import BuildOptions, build
from models_init.publish.pack.source_tree import scan
from models_init.transfer.ranges import SPAN_SIZE
from tests import samples
from tests.archive.archives import SUFFIXES, packed, publish
from tests.archive.hostile import HOSTILE
from tests.eventually import eventually
from tests.services.faults import Stall
from tests.services.faulty import FOREVER, FaultyServer
from tests.site import COMMON, DUTCH, NEWER, PREFIX, Packs, Site, in_container, stocked
from tests.tokens import token

if TYPE_CHECKING:
    from pathlib import Path

_ARCHIVE = f"{PREFIX}nl-nl/2026.04/pack.tar.zst"
_NAME = "am/final-0.weights"


@pytest.fixture(scope="module")
def opaque_packs(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """COMMON is a .tar.gz without totals in its manifest, DUTCH a .tar.zst with them; NEWER has chunks."""
    directory = tmp_path_factory.mktemp("opaque-packs")
    common = samples.write_tree(directory / "common", samples.Shape(texts=6, weights=(100_000,), dense=()), "common")
    shape = samples.Shape(texts=24, weights=(2 * samples.MIB + 13, samples.MIB), dense=(samples.MIB + 1,))
    dutch, newer = (samples.write_tree(directory / name, shape) for name in ("dutch", "newer"))
    samples.upgrade(newer)
    publish(directory / "packs", SUFFIXES["tar.gz"](packed(common)), COMMON, "common.tar.gz")
    size = sum(path.stat().st_size for path in dutch.rglob("*") if path.is_file())
    entries = len(list(dutch.rglob("*")))
    publish(directory / "packs", SUFFIXES["tar.zst"](packed(dutch)), DUTCH, plain=OpaqueArchive(size, entries))
    build(scan(newer), BuildOptions(NEWER, level=1), directory / "packs", NullObserver())
    return Packs(directory / "packs", {COMMON: common, DUTCH: dutch, NEWER: newer})


@pytest.fixture
def own_packs(opaque_packs: Packs, tmp_path: Path) -> Packs:
    """Return a copy that may be changed."""
    return replace(opaque_packs, directory=shutil.copytree(opaque_packs.directory, tmp_path / "own"))


@pytest.fixture(params=["directory", "container"])
def either(request: pytest.FixtureRequest, opaque_packs: Packs, tmp_path: Path) -> Site:
    site = Site(tmp_path / "models", opaque_packs.environment)
    if request.param == "directory":
        return site
    container = stocked(request.getfixturevalue("azurite"), opaque_packs)
    return site.but(**in_container(opaque_packs, container.container_url, container.sas()))


@pytest.fixture
def site(opaque_packs: Packs, tmp_path: Path) -> Site:
    return Site(tmp_path / "models", opaque_packs.environment)


@pytest.fixture(scope="module")
def installed_once(opaque_packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a volume on which the packs are installed."""
    site = Site(tmp_path_factory.mktemp("installed") / "models", opaque_packs.environment)
    assert site.run().code == 0
    return site.volume


@pytest.fixture
def installed(site: Site, installed_once: Path) -> Site:
    """Return a site with a copy of that volume."""
    shutil.copytree(installed_once, site.volume, symlinks=True)
    return site


def _size(packs: Packs, *refs: object) -> int:
    """Return the total size of the archives."""
    return sum(packs.manifest(ref).archive.size for ref in packs.trees if ref in refs)


def test_opaque_archives_are_installed(either: Site, opaque_packs: Packs) -> None:
    """The trees are identical, all bytes are counted, and staging is empty afterwards."""
    done = either.run("--json")
    assert (done.code, opaque_packs.differences(either, COMMON, DUTCH)) == (0, [])
    assert done.json["bytes_fetched"] == _size(opaque_packs, COMMON, DUTCH)
    assert done.json["bytes_reused"] == 0
    trees = [opaque_packs.trees[ref] for ref in (COMMON, DUTCH)]
    assert done.json["bytes_written"] == sum(
        path.stat().st_size for tree in trees for path in tree.rglob("*") if path.is_file()
    )
    assert list((either.volume / "staging").iterdir()) == []
    assert either.run("--verify").code == 0
    again = either.run(MODELS_URL="https://models.invalid/none", MODELS_SAS_TOKEN="")
    assert (again.code, again.out[:13]) == (0, "nothing to do")


def test_plan_uses_totals_from_manifest(site: Site, opaque_packs: Packs) -> None:
    """Until the archive is unpacked, the disk holds both the archive and the files."""
    result = site.run("--plan", "--json").json
    archive = opaque_packs.manifest(DUTCH).archive.size
    pack = result["packs"]["nl-nl"]
    unpacked = opaque_packs.manifest(DUTCH).size
    assert (pack["bytes_to_fetch"], pack["bytes"], pack["bytes_to_write"]) == (archive, unpacked, unpacked)
    assert result["disk_bytes_needed"] > archive + unpacked
    assert result["bytes_to_reuse"] == 0
    assert not site.volume.exists()


async def test_lack_of_space_is_reported_before_download(site: Site, own_packs: Packs) -> None:
    """Archive and content must fit if the manifest states the size of the content."""
    publish(own_packs.directory, b"some archive", DUTCH, plain=OpaqueArchive(size=1 << 50))
    async with FaultyServer(own_packs.objects()) as server:
        served = site.but(**in_container(own_packs, server.url, token()))
        done = await asyncio.to_thread(served.run)
        assert done.code == 41
        assert "the volume lacks 1" in done.fault
        assert [seen.key for seen in server.seen if seen.range] == []


@pytest.mark.parametrize("parts", [0, 2])
async def test_only_missing_parts_are_fetched_after_kill(
    site: Site, own_packs: Packs, tmp_path: Path, parts: int
) -> None:
    """After SIGKILL with `parts` parts stored, the next run fetches only the others."""
    tree = tmp_path / "large"
    tree.mkdir(mode=0o755)
    (tree / "large.bin").write_bytes(random.Random("large").randbytes(4 * SPAN_SIZE - 5000))
    (tree / "large.bin").chmod(0o644)
    size = publish(own_packs.directory, packed(tree), DUTCH).archive.size
    packs = replace(own_packs, trees={**own_packs.trees, DUTCH: tree})
    async with FaultyServer(packs.objects(), [Stall(at=1000, on=_ARCHIVE, after=parts, times=FOREVER)]) as server:
        served = site.but(**in_container(packs, server.url, token()), MODELS_CONNECTIONS="1")
        with served.start() as process:
            await eventually(lambda: len(_parts(site)) == parts and _ranges(server) > parts, "fetching these parts")
            process.kill()
            await asyncio.to_thread(process.communicate)
        assert process.returncode == -signal.SIGKILL
        assert not (site.volume / "current").exists()
        asked = len(server.seen)
        server.script()
        done = await asyncio.to_thread(served.run, "--json")
        ranges = sorted(seen.range for seen in server.seen[asked:] if seen.key == _ARCHIVE and seen.range)
    assert ranges == [(start, min(start + SPAN_SIZE, size)) for start in range(parts * SPAN_SIZE, size, SPAN_SIZE)]
    assert done.code == 0
    assert packs.differences(site, DUTCH) == []
    assert not (site.volume / "staging/nl-nl").exists()


def _parts(site: Site) -> list[Path]:
    return list(site.volume.glob("staging/nl-nl/*.spool/[0-9]*"))


def _ranges(server: FaultyServer) -> int:
    return sum(seen.key == _ARCHIVE for seen in server.seen)


def test_spool_is_shown_by_status_and_pruned(site: Site) -> None:
    """Status shows its size; prune removes it when the environment names another version."""
    place = site.volume / "staging/nl-nl/2026.04@0123456789ab.spool"
    place.mkdir(parents=True)
    (place / "000000").write_bytes(bytes(100_000))
    (staged,) = site.run("--status", "--json").json["packs"]
    assert (staged["pack"], staged["state"]) == ("nl-nl", "incomplete")
    assert staged["bytes"] >= 100_000
    assert site.run("--prune").code == 0
    assert place.exists()
    assert site.run("--prune", REALTIME_LANGUAGE_VERSION="2026.07").code == 0
    assert not place.exists()


def test_wrong_digest_publishes_nothing_and_next_run_recovers(own_packs: Packs, tmp_path: Path) -> None:
    """Exit code 30 names pack and archive; a run with the right bytes then succeeds."""
    site = Site(tmp_path / "models", own_packs.environment)
    path = own_packs.directory / "nl-nl/2026.04/pack.tar.zst"
    right = path.read_bytes()
    path.write_bytes(right[:-100] + bytes(100))
    done = site.run()
    assert done.code == 30
    assert "nl-nl 2026.04: the SHA-256 of the archive pack.tar.zst is wrong" in done.fault
    assert not (site.volume / "current").exists()
    assert not (site.volume / "packs/nl-nl").exists()
    assert (site.volume / "packs/common/2026.04").is_dir()
    assert _parts(site) == []
    path.write_bytes(right)
    assert site.run().code == 0
    assert own_packs.differences(site, COMMON, DUTCH) == []


@pytest.mark.parametrize("name", ["name outside the pack", "symbolic link", "zstd: bomb", "gzip: truncated"])
def test_invalid_archive_is_reported_in_one_line(own_packs: Packs, tmp_path: Path, name: str) -> None:
    """Exit code 10 with pack, archive, cause and remedy; the other pack is installed, and nothing else changes."""
    (hostile,) = (one for one in HOSTILE if one.name == name)
    publish(own_packs.directory, hostile.archive, DUTCH)
    site = Site(tmp_path / "models", own_packs.environment)
    outside = {path for path in tmp_path.iterdir() if path != site.volume}
    done = site.run()
    assert done.code == 10
    assert done.fault.startswith("nl-nl 2026.04: the archive pack.tar.zst cannot be used: ")
    assert hostile.words in done.fault
    assert done.fault.endswith("the publisher must repack it and check it with `models-pack describe`")
    assert {path for path in tmp_path.iterdir() if path != site.volume} == outside
    left = sorted(path.name for path in site.volume.iterdir())
    assert left == [".lock", "logs", "manifests", "packs", "releases", "staging"]
    assert [path.suffix for path in (site.volume / "staging").rglob("*") if path.is_file()] == [".json"]
    assert not (site.volume / "packs/nl-nl").exists()


def test_derived_manifest_is_rejected_from_source(own_packs: Packs, installed: Site, tmp_path: Path) -> None:
    shutil.copy(installed.volume / "manifests/nl-nl/2026.04.json", own_packs.directory / "nl-nl/2026.04/manifest.json")
    done = Site(tmp_path / "other", own_packs.environment).run()
    assert done.code == 10
    assert "is one that a site wrote when it extracted an opaque archive" in done.fault


# -- installed packs


def test_derived_manifest_lists_every_file(installed: Site, opaque_packs: Packs) -> None:
    """The manifest on the volume lists all files and has the version of the published one."""
    document = (installed.volume / "manifests/nl-nl/2026.04.json").read_bytes()
    found = parse_manifest(document, DUTCH)
    tree = opaque_packs.trees[DUTCH]
    assert found.is_derived
    assert [one.path for one in found.files] == sorted(
        path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()
    )
    assert {one["version"] for one in installed.run("--status", "--json").json["packs"]} == {"2026.04"}


def test_damage_is_found_and_repaired(installed: Site, opaque_packs: Packs) -> None:
    """A wrong byte, a missing file, an extra file and a wrong mode are reported by --verify and fixed by --repair."""
    pack = installed.volume / "packs/nl-nl/2026.04"
    with (pack / _NAME).open("r+b") as spoiled:
        spoiled.seek(1_500_000)
        spoiled.write(b"?")
    (pack / "bin/decode").unlink()
    (pack / "extra").write_bytes(b"mine")
    (pack / "conf/empty.conf").chmod(0o600)
    result = installed.run("--verify", "--json")
    assert result.code == 45
    kinds = {damage["path"]: damage["kind"] for damage in result.json["damages"]}
    assert kinds == {_NAME: "bytes", "bin/decode": "missing", "extra": "extra", "conf/empty.conf": "mode"}
    done = installed.run("--repair", "--json")
    assert done.json["bytes_fetched"] == _size(opaque_packs, DUTCH)
    assert opaque_packs.differences(installed, COMMON, DUTCH) == []
    assert installed.run("--verify").code == 0
    assert list((installed.volume / "staging").iterdir()) == []


@pytest.mark.parametrize(
    ("gone", "action"), [("manifests/nl-nl", "--repair"), ("manifests/nl-nl", ""), ("packs/nl-nl", "--repair")]
)
def test_missing_manifest_or_tree_is_restored(installed: Site, opaque_packs: Packs, gone: str, action: str) -> None:
    """A repair or another install restores it as the same release."""
    release = os.readlink(installed.volume / "current")
    shutil.rmtree(installed.volume / gone)
    done = installed.run(*filter(None, [action]))
    assert done.code == 0
    assert os.readlink(installed.volume / "current") == release
    assert opaque_packs.differences(installed, COMMON, DUTCH) == []
    assert installed.run("--verify").code == 0
    assert list((installed.volume / "staging").iterdir()) == []


def test_damaged_manifest_and_files_need_one_download(installed: Site, opaque_packs: Packs) -> None:
    (installed.volume / "manifests/nl-nl/2026.04.json").unlink()
    os.truncate(installed.volume / "packs/nl-nl/2026.04" / _NAME, 5)
    assert installed.run("--repair", "--json").json["bytes_fetched"] == _size(opaque_packs, DUTCH)
    assert opaque_packs.differences(installed, DUTCH) == []


def test_repair_from_changed_source_is_rejected(own_packs: Packs, tmp_path: Path) -> None:
    """Bytes other than the installed ones are never accepted."""
    site = Site(tmp_path / "models", own_packs.environment)
    assert site.run().code == 0
    publish(own_packs.directory, packed(own_packs.trees[COMMON]), DUTCH)
    (site.volume / "packs/nl-nl/2026.04/bin/decode").unlink()
    done = site.run("--repair")
    assert done.code in (20, 30)
    assert not (site.volume / "packs/nl-nl/2026.04/bin/decode").exists()


def test_upgrade_links_unchanged_files(installed: Site, opaque_packs: Packs) -> None:
    """A pack with chunks reuses files and chunks of an extracted one, which can be rolled back to and pruned."""
    done = installed.run("--json", REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert done.json["bytes_fetched"] < _size(opaque_packs, NEWER) / 2
    assert opaque_packs.differences(installed, NEWER) == []
    old, new = (installed.volume / "packs/nl-nl" / ref.version for ref in (DUTCH, NEWER))
    shared = "am/final-1.weights"
    assert (old / shared).stat().st_ino == (new / shared).stat().st_ino
    assert installed.run("--rollback").code == 0
    assert opaque_packs.differences(installed, DUTCH) == []
    newer = installed.but(REALTIME_LANGUAGE_VERSION=NEWER.version)
    release = json.loads(done.out)["release"]
    assert newer.run("--activate", release).code == 0
    assert newer.run("--prune", "--keep", "0").code == 0
    assert (old.exists(), (installed.volume / "manifests/nl-nl/2026.04.json").exists()) == (False, False)
    assert newer.run("--verify").code == 0


def test_incompatible_versions_are_rejected(own_packs: Packs, tmp_path: Path) -> None:
    """A requirement of an opaque archive works like any other."""
    path = own_packs.directory / "nl-nl/2026.04/manifest.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | {"requires": [{"pack": "common", "versions": ["2026.07"]}]}))
    assert Site(tmp_path / "models", own_packs.environment).run().code == 12
