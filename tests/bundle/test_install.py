"""The site's side: a bundle is a source like any other, read where it lies."""

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
    """Whether a run left neither packs nor anything of them."""
    return not volume.exists() or [path for path in volume.rglob("*") if path.parent != volume] == []


def test_from_the_container_over_the_gap(tmp_path: Path, packs: Packs, container: Azurite, site: Site) -> None:
    """Made from the container; installed with no network interface and no token: the same tree as online."""
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


def test_the_token_goes_nowhere(tmp_path: Path, packs: Packs) -> None:
    """Neither the bundle nor what the program prints has anything of the token, whatever becomes of the run."""
    out, secret = tmp_path / "site.tar", token()
    done = vendor.run("bundle", "--out", out, **packs.environment, MODELS_SAS_TOKEN=secret)
    assert done.code == 0
    refused = vendor.run("bundle", "--out", out, **in_container(packs, "http://127.0.0.1:9/x", secret))
    assert refused.code == 20
    assert [text for text in (done.out, done.err, refused.err, out.read_bytes()) if leaks(text)] == []


@pytest.mark.parametrize("named", ["site.tar.001", "site.tar.003", "site.tar", "."])
def test_parts_in_a_directory(site: Site, packs: Packs, parts: Path, named: str) -> None:
    """Parts are found by any of them, by the name of the whole, and by their directory."""
    assert site.run(MODELS_URL=str(parts / named)).code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_nothing_to_do_needs_no_bundle(site: Site, tmp_path: Path, whole: Path) -> None:
    """Once it is installed, the stick may go."""
    stick = tmp_path / "stick.tar"
    shutil.copy(whole, stick)
    assert site.run(MODELS_URL=str(stick)).code == 0
    stick.unlink()
    assert "nothing to do" in site.run(MODELS_URL=str(stick)).out


def test_another_pack_than_those_in_it(site: Site, whole: Path) -> None:
    """A version that the bundle has not: it is told which there are."""
    done = site.run(MODELS_URL=str(whole), REALTIME_LANGUAGE_VERSION="2030.01")
    assert done.code == 21
    assert "versions of nl-nl are: 2026.04" in done.fault


def _receipt(site: Site, file: Path) -> Path:
    done = site.run("--receipt", str(file))
    assert (done.code, done.err) == (0, "")
    return file


def test_a_receipt_is_small_and_says_what_is_there(site: Site, tmp_path: Path) -> None:
    """Packs, versions, digests, the release; the same on stdout; of an empty volume, nothing."""
    empty = json.loads(site.run("--receipt", "-").out)
    assert (empty["packs"], empty["release"]) == ([], "")
    assert site.run().code == 0
    receipt = _receipt(site, tmp_path / "site.receipt").read_text()
    assert receipt == site.run("--receipt", "-").out
    assert [(pack["pack"], pack["version"]) for pack in json.loads(receipt)["packs"]] == [COMMON, DUTCH]
    assert json.loads(receipt)["release"] == (site.volume / "current").readlink().name
    assert site.run("--receipt", str(tmp_path / "none/file")).fault.endswith("name another file")


def test_only_what_the_site_lacks(site: Site, packs: Packs, tmp_path: Path) -> None:
    """A bundle since a receipt upgrades the volume that gave it; another volume is told what it lacks, untouched."""
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
        assert f"holds release {(site.volume / 'current').readlink().name} ({COMMON}, {DUTCH})" in done.fault
        assert untouched(fresh.volume)

    upgraded = site.but(**fresh.environment)
    assert upgraded.run().code == 0
    assert packs.differences(upgraded, COMMON, NEWER) == []


def test_one_file_of_ten_changed(tmp_path: Path, packs: Packs) -> None:
    """The bundle is at most 1.05 times that file's chunks plus 1 MiB."""
    published = shutil.copytree(packs.directory / "common", tmp_path / "published/common").parent
    tree = write_tree(tmp_path / "tree", Shape(texts=0, weights=(), dense=(2 * MIB + 7,) * 10, unusual=False))
    old, new = PackRef("de-de", "1"), PackRef("de-de", "2")
    built(tree, published, old, level=1)
    other = write_tree(tmp_path / "other", Shape(texts=0, weights=(), dense=(2 * MIB + 7,), unusual=False), "other")
    shutil.copy(other / "graph/HCLG-0.bin", tree / "graph/HCLG-4.bin")
    manifest = built(tree, published, new, level=1).manifest
    site = Site(
        tmp_path / "models",
        {"REALTIME_LANGUAGES": "de-de@1", "REALTIME_COMMON_VERSION": COMMON.version, "MODELS_URL": str(published)},
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


def test_repair_from_a_bundle(site: Site, packs: Packs, whole: Path) -> None:
    """What is damaged on the volume is fetched from the bundle."""
    assert site.run().code == 0
    victim = site.active("nl-nl") / "am/final-0.weights"
    data = bytearray(victim.read_bytes())
    data[5_000_000] ^= 1
    victim.resolve().write_bytes(data)
    assert site.run("--repair", MODELS_URL=str(whole)).code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_a_plain_archive(packs: Packs, tmp_path: Path) -> None:
    """A pack that is a plain archive goes along as it is, is taken up whole, and is left out by a receipt."""
    published, tree = shutil.copytree(packs.directory, tmp_path / "published"), packs.trees[DUTCH]
    archive = tmp_path / "de.tar.gz"
    subprocess.run(["tar", "-C", tree, "-czf", archive, "."], check=True)
    assert vendor.run("describe", archive, "--name", "de-de", "--version", "1", "--out", published).code == 0
    settings = {**packs.environment, "REALTIME_LANGUAGES": "de-de@1", "MODELS_URL": str(published)}
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
