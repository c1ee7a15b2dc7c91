"""`models-pack bundle`: format, reproducibility, resumption, errors."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from models_init.cli.settings import load
from models_init.core.errors import LockedError
from models_init.formats.minisign import binding
from models_init.publish.bundle.images import spooled
from models_init.publish.cli.commands import bundle
from models_init.publish.cli.main import build_parser
from models_init.sources.bundle import Bundle
from tests import services as real
from tests.bundle import media, vendor
from tests.eventually import eventually
from tests.publish.observers import CountingObserver
from tests.signing.vendor import KEY, OTHER, minisign, unencrypted
from tests.site import COMMON, DUTCH, NEWER, Site

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.publish.signing.keys import SecretKey
    from tests.site import Packs

_ARCHIVE = f"{DUTCH.name}/{DUTCH.version}/pack.tar.zst"


def _sum(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def test_bundle_is_ordinary_tar(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """Both tar and tarfile read it, and the archive inside is the published one."""
    tar = real.require_tool("tar")
    listed = subprocess.run([tar, "-tf", whole], check=True, capture_output=True, text=True).stdout.splitlines()
    with tarfile.open(whole) as file:
        assert file.getnames() == listed
        assert {(member.mtime, member.uid, member.gid, member.mode) for member in file} == {(0, 0, 0, 0o644)}
    assert (listed[0], listed[-1]) == ("bundle.json", "bundle.json.copy")
    assert {"INSTALL.md", "install.sh", "site/site.env", _ARCHIVE} < set(listed)
    subprocess.run([tar, "-xf", whole, "-C", tmp_path], check=True)
    assert _sum(tmp_path / _ARCHIVE) == packs.manifest(DUTCH).archive.digest.removeprefix("sha256:")
    table = json.loads((tmp_path / "bundle.json").read_text())
    assert [member["name"] for member in table["members"]] == listed[1:-1]
    for member in table["members"]:
        assert member["digest"] == f"sha256:{_sum(tmp_path / member['name'])}"
    assert (tmp_path / "bundle.json").read_bytes() == (tmp_path / "bundle.json.copy").read_bytes()


def test_concatenated_parts_are_ordinary_tar(whole: Path, parts: Path, packs: Packs, tmp_path: Path) -> None:
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(path.read_bytes() for path in sorted(parts.iterdir())))
    with tarfile.open(joined) as one, tarfile.open(whole) as other:
        assert one.getnames() == other.getnames()
        archive = one.extractfile(_ARCHIVE)
        assert archive
        digest = hashlib.file_digest(archive, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed requires getbuffer
    assert f"sha256:{digest}" == packs.manifest(DUTCH).archive.digest


def test_same_packs_give_same_bytes(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """The number of connections does not matter."""
    out = tmp_path / "site.tar"
    made = vendor.bundled("--out", out, **packs.environment, MODELS_CONNECTIONS="1")
    assert _sum(out) == _sum(whole)
    assert list(tmp_path.iterdir()) == [out]
    assert (made.json["bytes_found"], made.json["unchanged"]) == (0, False)


def test_existing_bundle_is_kept(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """An identical bundle is reported as unchanged, a different one as an error."""
    out = tmp_path / "site.tar"
    shutil.copy(whole, out)
    before = out.stat()
    assert vendor.bundled("--out", out, **packs.environment).json["unchanged"]
    newer = {**packs.environment, "REALTIME_LANGUAGE_VERSION": NEWER.version}
    done = vendor.run("bundle", "--out", out, **newer)
    assert done.code == 2
    assert "is a different bundle: choose another --out, or remove it with all its parts" in vendor.fault(done)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("content", ["", "something else"])
def test_other_file_in_the_place_of_the_bundle_is_kept(packs: Packs, tmp_path: Path, content: str) -> None:
    out = tmp_path / "site.tar"
    out.write_text(content)
    done = vendor.run("bundle", "--out", out, **packs.environment)
    assert done.code == 2
    assert f"{out} exists, and is not a complete bundle: choose another --out" in vendor.fault(done)
    assert out.read_text() == content


def test_identical_bundle_since_receipt_is_unchanged(site: Site, packs: Packs, tmp_path: Path) -> None:
    """The digests of archive pieces are known only when the bundle is complete."""
    assert site.run().code == 0
    receipt, out = tmp_path / "receipt", tmp_path / "since.tar"
    assert site.run("--receipt", str(receipt)).code == 0
    newer = {**packs.environment, "REALTIME_LANGUAGE_VERSION": NEWER.version}
    first = vendor.bundled("--out", out, "--since", receipt, "--split", "64KiB", **newer).json
    assert len(first["files"]) > 2
    assert vendor.bundled("--out", out, "--since", receipt, "--split", "64KiB", **newer).json["unchanged"]
    assert vendor.run("inspect", tmp_path / "since.tar.001").code == 0


async def test_killed_run_is_resumed_and_gives_same_bytes(whole: Path, packs: Packs, tmp_path: Path) -> None:
    out, part = tmp_path / "site.tar", tmp_path / "site.tar.part"
    opened = Bundle.open(whole)
    opened.files.close()
    (archive,) = opened.objects[_ARCHIVE]

    def _archive_begun() -> bool:
        if not part.exists():
            return False
        with part.open("rb") as file:
            file.seek(archive.offset + 1_000_000)
            return any(file.read(1000))

    process = vendor.start("bundle", "--out", out, **packs.environment, MODELS_MAX_RATE="4MB")
    await eventually(_archive_begun)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["site.tar.part"]
    made = vendor.bundled("--out", out, **packs.environment).json
    assert made["bytes_found"] > 0
    assert made["bytes_fetched"] + made["bytes_found"] >= archive.size
    assert _sum(out) == _sum(whole)
    assert os.listdir(tmp_path) == ["site.tar"]


def test_damaged_draft_is_reused_where_it_verifies(whole: Path, packs: Packs, tmp_path: Path) -> None:
    out, part = tmp_path / "site.tar", tmp_path / "site.tar.part"
    shutil.copy(whole, part)
    for bit in media.some_bits(part, 4, "spoilt"):
        media.flip(part, bit)
    with part.open("r+b") as file:
        file.write(b"x" * 512)
        file.truncate(part.stat().st_size - 3_000_000)
    made = vendor.bundled("--out", out, **packs.environment).json
    assert made["bytes_found"] > 0
    assert _sum(out) == _sum(whole)


def test_wrong_bytes_between_chunks_are_fetched_again(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """Only the digest of the archive covers these bytes."""
    out, part = tmp_path / "site.tar", tmp_path / "site.tar.part"
    shutil.copy(whole, part)
    opened = Bundle.open(whole)
    opened.files.close()
    (archive,) = opened.objects[_ARCHIVE]
    media.flip(part, 8 * archive.offset)
    vendor.bundled("--out", out, **packs.environment)
    assert _sum(out) == _sum(whole)


def test_run_killed_between_renames_is_completed(parts: Path, packs: Packs, tmp_path: Path) -> None:
    directory = shutil.copytree(parts, tmp_path / "out")
    for name in ("site.tar.001", "site.tar.002"):
        (directory / name).rename(directory / f"{name}.part")
    made = vendor.bundled("--out", directory / "site.tar", "--split", "2500KB", **packs.environment).json
    assert made["bytes_found"] > 0
    assert _sum(*sorted(directory.iterdir())) == _sum(*sorted(parts.iterdir()))


def test_parts_of_a_longer_bundle_are_refused(parts: Path, packs: Packs, tmp_path: Path) -> None:
    """Without its first part, the old bundle is not recognized; a reader would count its last parts to the new one."""
    directory = shutil.copytree(parts, tmp_path / "out")
    (directory / "site.tar.001").unlink()
    before = _sum(*sorted(directory.iterdir()))
    done = vendor.run("bundle", "--out", directory / "site.tar", "--split", "4MB", **packs.environment)
    assert done.code == 2
    assert f"{directory}/site.tar.005: part of another bundle, because this one has 4 parts" in vendor.fault(done)
    assert _sum(*sorted(directory.iterdir())) == before


def test_parts_whose_first_part_was_moved_away_are_not_overwritten(parts: Path, packs: Packs, tmp_path: Path) -> None:
    directory, stick = shutil.copytree(parts, tmp_path / "parts"), tmp_path / "stick"
    shutil.move(directory / "site.tar.001", stick)
    kept = {path: _sum(path) for path in directory.iterdir()}
    newer = {**packs.environment, "REALTIME_LANGUAGE_VERSION": NEWER.version}
    done = vendor.run("bundle", "--out", directory / "site.tar", "--split", "2500KB", **newer)
    assert done.code == 2
    assert "site.tar.002" in vendor.fault(done)
    assert "part of another bundle, whose first part is missing" in vendor.fault(done)
    assert {path: _sum(path) for path in directory.iterdir()} == kept


def test_second_run_does_not_remove_the_images_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skopeo = tmp_path / "bin/skopeo"
    skopeo.parent.mkdir()
    skopeo.write_text('#!/bin/sh\nfor last; do :; done\nfile=${last#docker-archive:}\necho image >"${file%%:*}"\n')
    skopeo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{skopeo.parent}:{os.environ['PATH']}")
    references, out = ["docker://registry/asr/server:1"], tmp_path / "out/site.tar"
    with spooled(references, out) as (image,):
        with pytest.raises(LockedError, match="is being written by another run"), spooled(references, out):
            pass
        assert image.path.read_text() == "image\n"
    assert not list(out.parent.iterdir())


async def test_second_concurrent_run_is_refused(packs: Packs, tmp_path: Path) -> None:
    out = tmp_path / "site.tar"
    with vendor.start("bundle", "--out", out, **packs.environment, MODELS_MAX_RATE="100KB") as process:
        await eventually((tmp_path / "site.tar.part").exists)
        try:
            done = vendor.run("bundle", "--out", out, **packs.environment)
        finally:
            process.kill()
    assert done.code == 42
    assert "is being written by another run" in vendor.fault(done)


def test_wrong_bytes_of_source_are_named_and_not_bundled(packs: Packs, whole: Path, tmp_path: Path) -> None:
    """The other chunks are kept for the next run."""
    pack_directory, out = shutil.copytree(packs.directory, tmp_path / "pack_directory"), tmp_path / "site.tar"
    media.flip(pack_directory / _ARCHIVE, 8 * 5_000_000)
    done = vendor.run("bundle", "--out", out, **{**packs.environment, "MODELS_URL": str(pack_directory)})
    assert done.code == 30
    assert "nl-nl 2026.04: the chunk at " in vendor.fault(done)
    assert not out.exists()
    made = vendor.bundled("--out", out, **packs.environment).json
    assert made["bytes_found"] > 9_000_000
    assert _sum(out) == _sum(whole)


def test_version_missing_from_source_is_reported(packs: Packs, tmp_path: Path) -> None:
    done = vendor.run("bundle", "--out", tmp_path / "x.tar", **{**packs.environment, "REALTIME_COMMON_VERSION": "1"})
    assert done.code == 21
    assert "versions of common are: 2026.04" in vendor.fault(done)
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_reported_before_fetching(packs: Packs, tmp_path: Path) -> None:
    real.require_root()
    mount, umount = real.require_tool("mount"), real.require_tool("umount")
    tmp_path.joinpath("disk").mkdir()
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "none", tmp_path / "disk"], check=True)
    try:
        done = vendor.run("bundle", "--out", tmp_path / "disk/site.tar", **packs.environment)
    finally:
        subprocess.run([umount, "--lazy", tmp_path / "disk"], check=True)
    assert done.code == 41
    assert "site.tar cannot be written: No space left on device" in vendor.fault(done)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "site.zip"], "--out site.zip must end in .tar"),
        (["--out", "site.tar", "--split", "1KiB"], "--split 1024 is too small: use at least 64.0 KiB"),
        (["--out", "site.tar", "--split", "0"], "--split 0 is too small: use at least 64.0 KiB"),
        (["--out", "site.tar", "--split", "4X"], "'4X' is not a size: write it like 4G or 4GiB"),
        (["--out", "site.tar", "--since", "none"], "--since none cannot be read: No such file"),
        (["--out", "site.tar", "--since", "/etc/passwd"], "--since /etc/passwd is not a receipt"),
        (["--out", "site.tar", "--file", "none"], "none cannot be read: No such file"),
        (["--out", "site.tar", "--file", "/etc/passwd=../x"], "'../x' cannot be the name of /etc/passwd at the site"),
        (["--out", "site.tar", "--file", "/etc/passwd=site.env"], "site/site.env would be in the bundle twice"),
        (
            ["--out", "site.tar", "--file", "/etc/passwd=a", "--file", "/etc/passwd=a/b"],
            "site/a would be a file and the directory of site/a/b: give one of them another name",
        ),
        (["--out", "site b.tar"], "MODELS_BUNDLE=site b.tar contains a character"),
        (["--out", "site b.tar"], "an env file cannot hold; choose another --out"),
        (["--out", "site.tar", "--for", "n" * 1025], "`recipient` has more than 1024 characters"),
        (["--out", "site.tar", "--image", "untagged"], "--image untagged has no tag"),
    ],
)
def test_invalid_argument_is_reported_and_nothing_written(
    packs: Packs, tmp_path: Path, arguments: list[str], message: str
) -> None:
    at = [str(tmp_path / word) if word.startswith("site.") else word for word in arguments]
    done = vendor.run("bundle", *at, **packs.environment)
    assert done.code == 2
    assert message.replace("site.zip", str(tmp_path / "site.zip")) in vendor.fault(done)
    assert list(tmp_path.iterdir()) == []


def test_site_files_variables_and_recipient_are_bundled(packs: Packs, tmp_path: Path) -> None:
    license_file, compose = tmp_path / "license.dat", tmp_path / "docker-compose.onprem.yml"
    license_file.write_text("a license\n")
    compose.write_text("services: {}\n")
    out = tmp_path / "site.tar"
    more = ["--file", f"{license_file}=config/license.dat", "--compose", compose, "--for", "Acme, Utrecht"]
    vendor.bundled("--out", out, *more, **packs.environment, REALTIME_REGISTRY="registry.acme/asr")
    with tarfile.open(out) as file:
        found = {
            name: content.read().decode()
            for name in file.getnames()
            if (content := file.extractfile(name)) and name.startswith("site/")
        }
    assert found["site/config/license.dat"] == "a license\n"
    assert "network_mode: none" in found["site/docker-compose.realtime.bundle.yml"]
    assert found["site/site.env"].splitlines() == [
        f"REALTIME_LANGUAGES={DUTCH.name}",
        f"REALTIME_LANGUAGE_VERSION={DUTCH.version}",
        f"REALTIME_COMMON_VERSION={COMMON.version}",
        "REALTIME_REGISTRY=registry.acme/asr",
        "COMPOSE_FILE=docker-compose.onprem.yml:docker-compose.realtime.bundle.yml",
        "MODELS_BUNDLE=site.tar",
    ]
    message = json.loads(vendor.run("inspect", out, "--json").out)
    assert (message["recipient"], message["complete"], message["whole"]) == ("Acme, Utrecht", True, True)
    assert {pack["pack"]: pack["version"] for pack in message["packs"]} == dict([COMMON, DUTCH])
    assert "Acme, Utrecht" in vendor.run("inspect", out).out


@pytest.mark.parametrize("key", [KEY, OTHER], ids=lambda key: f"key {key.public.id}")
def test_minisign_signatures_are_bundled_unchanged(packs: Packs, tmp_path: Path, site: Site, key: SecretKey) -> None:
    """`inspect` shows the key id as minisign does, and a site that requires the key installs the bundle."""
    pack_directory, secret, public = (tmp_path / name for name in ("packs", "a.key", "a.pub"))
    shutil.copytree(packs.directory, pack_directory)
    secret.write_text(unencrypted(key))
    minisign("-R", "-s", secret, "-p", public)
    for ref in (COMMON, DUTCH):
        minisign(
            "-S", "-s", secret, "-m", pack_directory / ref.name / ref.version / "manifest.json", "-t", binding(ref)
        )
    out = tmp_path / "site.tar"
    vendor.bundled("--out", out, **{**packs.environment, "MODELS_URL": str(pack_directory)})
    with tarfile.open(out) as file:
        for ref in (COMMON, DUTCH):
            name = f"{ref.name}/{ref.version}/manifest.json.minisig"
            for at in (name, f"copies/{name}"):
                content = file.extractfile(at)
                assert content
                assert content.read() == (pack_directory / name).read_bytes()
    shown_by_minisign = public.read_text().splitlines()[0].split()[-1]
    message = json.loads(vendor.run("inspect", out, "--json").out)
    assert {pack["signed_by"] for pack in message["packs"]} == {shown_by_minisign}
    signed = site.run(MODELS_URL=str(out), MODELS_PUBLIC_KEY_FILE=str(public))
    assert signed.code == 0, signed.err
    unsigned = Site(tmp_path / "other", site.environment).run(MODELS_PUBLIC_KEY_FILE=str(public))
    assert unsigned.code == 13


async def test_progress_of_several_archives_has_one_total(packs: Packs, tmp_path: Path) -> None:
    observer, arguments = CountingObserver(), ["bundle", "--out", str(tmp_path / "site.tar")]
    settings, parsed = load(packs.environment, with_packs=True), build_parser().parse_args(arguments)
    await bundle.make_bundle(settings, parsed, None, observer)
    assert (observer.totals, observer.done) == (1, observer.expected)


def test_smallest_memory_setting_is_sufficient(packs: Packs, tmp_path: Path) -> None:
    out = tmp_path / "site.tar"
    vendor.bundled("--out", out, **packs.environment, MODELS_MEMORY="8MiB")
    assert os.path.getsize(out) > 10_000_000
