"""Installing, upgrading and repairing from a bundle."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests import services as real
from tests.bundle import vendor
from tests.publish.packs import built
from tests.samples import MIB, Shape, same_tree, write_tree
from tests.site import COMMON, DUTCH, NEWER, Site, in_container
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.site import Packs


def untouched(volume: Path) -> bool:
    """Return True if a run has written nothing on the volume except its lock, its log and empty directories."""
    return [path for path in volume.glob("*/**/*") if volume / "logs" not in path.parents] == []


def test_offline_install_equals_online_install(tmp_path: Path, packs: Packs, container: Azurite, site: Site) -> None:
    """The offline run has no network interface and no token."""
    real.require_root()
    unshare = real.require_tool("unshare")
    online = Site(tmp_path / "online", in_container(packs, container.container_url, container.sas()))
    assert online.run().code == 0
    bundle = tmp_path / "site.tar"
    made = vendor.bundled("--out", bundle, **in_container(packs, container.container_url, container.sas()))
    assert made.json["complete"]
    assert b"sig=" not in bundle.read_bytes()

    offline = site.but(MODELS_URL=str(bundle))
    done = offline.run("--json", through=[unshare, "--net"])
    assert (done.code, done.json["activated"]) == (0, True), done.err
    for directory in ("packs", "manifests"):
        assert same_tree(online.volume / directory, offline.volume / directory) == []
    assert packs.differences(offline, COMMON, DUTCH) == []
    record = json.loads((offline.volume / "current/release.json").read_text())
    assert record["source"] == bundle.as_uri()
    assert offline.run("--verify", through=[unshare, "--net"]).code == 0


def test_token_is_in_neither_bundle_nor_output(tmp_path: Path, packs: Packs) -> None:
    out, secret = tmp_path / "site.tar", token()
    done = vendor.run("bundle", "--out", out, **packs.environment, MODELS_SAS_TOKEN=secret)
    assert done.code == 0
    refused = vendor.run("bundle", "--out", out, **in_container(packs, "http://127.0.0.1:9/x", secret))
    assert refused.code == 20
    assert [text for text in (done.out, done.err, refused.err, out.read_bytes()) if leaks(text)] == []


@pytest.mark.parametrize("named", ["site.tar.001", "site.tar.003", "site.tar", "."])
def test_split_bundle_is_found_by_any_part_or_directory(site: Site, packs: Packs, parts: Path, named: str) -> None:
    assert site.run(MODELS_URL=str(parts / named)).code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_installed_release_starts_without_bundle(site: Site, tmp_path: Path, whole: Path) -> None:
    bundle = tmp_path / "bundle.tar"
    shutil.copy(whole, bundle)
    assert site.run(MODELS_URL=str(bundle)).code == 0
    bundle.unlink()
    assert "nothing to do" in site.run(MODELS_URL=str(bundle)).out


def test_version_missing_from_bundle_lists_available_versions(site: Site, whole: Path) -> None:
    done = site.run(MODELS_URL=str(whole), REALTIME_LANGUAGE_VERSION="2030.01")
    assert done.code == 21
    assert "versions of nl-nl are: 2026.04" in done.fault


def _receipt(site: Site, file: Path) -> Path:
    done = site.run("--receipt", str(file))
    assert (done.code, done.err) == (0, "")
    return file


def test_receipt_lists_packs_digests_and_release(site: Site, tmp_path: Path) -> None:
    """The receipt is the same on stdout and in a file; the receipt of an empty volume lists nothing."""
    empty = json.loads(site.run("--receipt", "-").out)
    assert (empty["packs"], empty["release"]) == ([], "")
    assert site.run().code == 0
    receipt = _receipt(site, tmp_path / "site.receipt").read_text()
    assert receipt == site.run("--receipt", "-").out
    assert [(pack["pack"], pack["version"]) for pack in json.loads(receipt)["packs"]] == [COMMON, DUTCH]
    assert json.loads(receipt)["release"] == (site.volume / "current").readlink().name
    assert site.run("--receipt", str(tmp_path / "none/file")).fault.endswith("name another file")


def test_bundle_since_receipt_upgrades_its_volume_only(site: Site, packs: Packs, tmp_path: Path) -> None:
    """Another volume is refused before anything changes, and the message names what is missing."""
    assert site.run().code == 0
    receipt, out = _receipt(site, tmp_path / "site.receipt"), tmp_path / "since.tar"
    newer = {**packs.environment, "REALTIME_LANGUAGE_VERSION": NEWER.version}
    made = vendor.bundled("--out", out, "--since", receipt, **newer)
    assert not made.json["complete"]
    assert out.stat().st_size < packs.manifest(NEWER).archive.size / 10

    fresh = Site(tmp_path / "fresh", {**newer, "MODELS_URL": str(out)})
    for arguments in ((), ("--plan",)):
        done = fresh.run(*arguments)
        assert done.code == 21
        assert f"neither {out.as_uri()} nor this volume has " in done.fault
        assert f"of {COMMON}, " in done.fault
        assert f"of {NEWER}: " in done.fault
        assert f"has release {(site.volume / 'current').readlink().name} ({COMMON}, {DUTCH})" in done.fault
        assert untouched(fresh.volume)

    upgraded = site.but(**fresh.environment)
    assert upgraded.run().code == 0
    assert packs.differences(upgraded, COMMON, NEWER) == []


def test_bundle_since_receipt_has_size_of_changed_file(tmp_path: Path, packs: Packs) -> None:
    """The bundle has at most 1.05 times the size of the file's chunks plus 1 MiB."""
    pack_directory = shutil.copytree(packs.directory / "common", tmp_path / "pack_directory/common").parent
    tree = write_tree(tmp_path / "tree", Shape(texts=0, weights=(), dense=(2 * MIB + 7,) * 10, unusual=False))
    old, new = PackRef("de-de", "1"), PackRef("de-de", "2")
    built(tree, pack_directory, old, level=1)
    other = write_tree(tmp_path / "other", Shape(texts=0, weights=(), dense=(2 * MIB + 7,), unusual=False), "other")
    shutil.copy(other / "graph/HCLG-0.bin", tree / "graph/HCLG-4.bin")
    manifest = built(tree, pack_directory, new, level=1).manifest
    site = Site(
        tmp_path / "models",
        {"REALTIME_LANGUAGES": "de-de@1", "REALTIME_COMMON_VERSION": COMMON.version, "MODELS_URL": str(pack_directory)},
    )
    assert site.run().code == 0
    out = tmp_path / "since.tar"
    wanted = {**site.environment, "REALTIME_LANGUAGES": "de-de@2"}
    vendor.bundled("--out", out, "--since", _receipt(site, tmp_path / "receipt"), **wanted)
    (chunks,) = (file.chunks for file in manifest.files if file.path == "graph/HCLG-4.bin")
    assert out.stat().st_size <= 1.05 * sum(chunk.length for chunk in chunks) + MIB
    done = site.but(**{**wanted, "MODELS_URL": str(out)}).run()
    assert done.code == 0, done.err
    assert same_tree(tree, site.active("de-de").resolve()) == []


def test_repair_fetches_damaged_chunk_from_bundle(site: Site, packs: Packs, whole: Path) -> None:
    assert site.run().code == 0
    victim = site.active("nl-nl") / "am/final-0.weights"
    data = bytearray(victim.read_bytes())
    data[5_000_000] ^= 1
    victim.resolve().write_bytes(data)
    assert site.run("--repair", MODELS_URL=str(whole)).code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_opaque_archive_is_bundled_resumed_and_omitted_by_receipt(packs: Packs, tmp_path: Path) -> None:
    pack_directory, tree = shutil.copytree(packs.directory, tmp_path / "pack_directory"), packs.trees[DUTCH]
    archive = tmp_path / "de.tar.gz"
    subprocess.run(["tar", "-C", tree, "-czf", archive, "."], check=True)
    assert vendor.run("describe", archive, "--name", "de-de", "--version", "1", "--out", pack_directory).code == 0
    settings = {**packs.environment, "REALTIME_LANGUAGES": "de-de@1", "MODELS_URL": str(pack_directory)}
    out = tmp_path / "site.tar"
    vendor.bundled("--out", out, **settings)
    shutil.copy(out, tmp_path / "copy")
    out.rename(tmp_path / "site.tar.part")
    made = vendor.bundled("--out", out, **settings).json
    assert made["bytes_fetched"] < archive.stat().st_size / 2
    assert (tmp_path / "copy").read_bytes() == out.read_bytes()
    assert vendor.run("inspect", out).code == 0

    site = Site(tmp_path / "models", {**settings, "MODELS_URL": str(out)})
    done = site.run()
    assert done.code == 0, done.err
    assert same_tree(tree, site.active("de-de").resolve()) == []
    since = tmp_path / "since.tar"
    vendor.bundled("--out", since, "--since", _receipt(site, tmp_path / "receipt"), **settings)
    assert since.stat().st_size < 1 * MIB
    refused = Site(tmp_path / "other", {**settings, "MODELS_URL": str(since)}).run()
    assert refused.code == 21
    assert re.search("neither .* nor this volume has .* of de-de 1: ", refused.fault)
    assert untouched(tmp_path / "other")
