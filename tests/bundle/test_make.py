"""The vendor's side: an ordinary tar, the same for the same packs, taken up after a kill."""

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

from models_init.sources.bundle import Bundle
from tests import services as real
from tests.bundle import media, vendor
from tests.eventually import eventually
from tests.site import COMMON, DUTCH, NEWER, Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs

_ARCHIVE = f"{DUTCH.name}/{DUTCH.version}/pack.tar.zst"


def _sum(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def test_any_tool_can_read_it(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """Both tar and Python's tarfile list it and extract from it; the archive inside is the pack's own."""
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


def test_parts_are_the_whole_cut_up(whole: Path, parts: Path, packs: Packs, tmp_path: Path) -> None:
    """`cat` puts parts together to an ordinary tar, whose members are those of the whole."""
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(path.read_bytes() for path in sorted(parts.iterdir())))
    with tarfile.open(joined) as one, tarfile.open(whole) as other:
        assert one.getnames() == other.getnames()
        archive = one.extractfile(_ARCHIVE)
        assert archive
        digest = hashlib.file_digest(archive, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants getbuffer
    assert f"sha256:{digest}" == packs.manifest(DUTCH).archive.digest


def test_the_same_packs_give_the_same_bytes(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """Made again, and with one connection: not a byte differs; nothing is left beside it."""
    out = tmp_path / "site.tar"
    made = vendor.bundled("--out", out, **packs.environment, MODELS_CONNECTIONS="1")
    assert _sum(out) == _sum(whole)
    assert list(tmp_path.iterdir()) == [out]
    assert (made.json["bytes_found"], made.json["unchanged"]) == (0, False)


def test_what_stands_there_is_not_replaced(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """The same bundle is left as it is; another one is refused, and left as it is."""
    out = tmp_path / "site.tar"
    shutil.copy(whole, out)
    before = out.stat()
    assert vendor.bundled("--out", out, **packs.environment).json["unchanged"]
    newer = {**packs.environment, "REALTIME_LANGUAGE_VERSION": NEWER.version}
    done = vendor.run("bundle", "--out", out, **newer)
    assert done.code == 2
    assert "is another bundle: choose another --out, or remove that one" in vendor.fault(done)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_same_since_bundle_is_known_again(site: Site, packs: Packs, tmp_path: Path) -> None:
    """Also where digests of pieces are known at the end only."""
    assert site.run().code == 0
    receipt, out = tmp_path / "receipt", tmp_path / "since.tar"
    assert site.run("--receipt", str(receipt)).code == 0
    newer = {**packs.environment, "REALTIME_LANGUAGE_VERSION": NEWER.version}
    first = vendor.bundled("--out", out, "--since", receipt, "--split", "64KiB", **newer).json
    assert len(first["files"]) > 2
    assert vendor.bundled("--out", out, "--since", receipt, "--split", "64KiB", **newer).json["unchanged"]
    assert vendor.run("inspect", tmp_path / "since.tar.001").code == 0


async def test_killed_and_taken_up(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """`kill -9` amid the archive: the next run keeps what is right of it, and the bytes are the same."""
    out, part = tmp_path / "site.tar", tmp_path / "site.tar.part"
    opened = Bundle.open(whole)
    opened.medium.close()
    (archive,) = opened.objects[_ARCHIVE]

    def amid() -> bool:
        if not part.exists():
            return False
        with part.open("rb") as file:
            file.seek(archive.offset + 1_000_000)
            return any(file.read(1000))

    process = vendor.start("bundle", "--out", out, **packs.environment, MODELS_MAX_RATE="4MB")
    await eventually(amid)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert os.listdir(tmp_path) == ["site.tar.part"]
    made = vendor.bundled("--out", out, **packs.environment).json
    assert made["bytes_found"] > 0
    assert made["bytes_fetched"] + made["bytes_found"] >= archive.size
    assert _sum(out) == _sum(whole)
    assert os.listdir(tmp_path) == ["site.tar"]


def test_only_what_is_right_is_taken_up(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """Of a `.part` with wrong chunks, another's headers and a hole between chunks, all becomes right."""
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


def test_a_hole_between_chunks_is_found(whole: Path, packs: Packs, tmp_path: Path) -> None:
    """A power cut may take what no chunk covers: the archive's own digest tells, and it is fetched again."""
    out, part = tmp_path / "site.tar", tmp_path / "site.tar.part"
    shutil.copy(whole, part)
    opened = Bundle.open(whole)
    opened.medium.close()
    (archive,) = opened.objects[_ARCHIVE]
    media.flip(part, 8 * archive.offset)
    vendor.bundled("--out", out, **packs.environment)
    assert _sum(out) == _sum(whole)


def test_killed_between_the_renames(parts: Path, packs: Packs, tmp_path: Path) -> None:
    """Parts that have their names while the first has not are taken back, and the bundle is made whole."""
    directory = shutil.copytree(parts, tmp_path / "out")
    for name in ("site.tar.001", "site.tar.002"):
        (directory / name).rename(directory / f"{name}.part")
    made = vendor.bundled("--out", directory / "site.tar", "--split", "2500KB", **packs.environment).json
    assert made["bytes_found"] > 0
    assert _sum(*sorted(directory.iterdir())) == _sum(*sorted(parts.iterdir()))


async def test_two_at_once(packs: Packs, tmp_path: Path) -> None:
    """Of two runs that write one bundle, the second is told so."""
    out = tmp_path / "site.tar"
    with vendor.start("bundle", "--out", out, **packs.environment, MODELS_MAX_RATE="100KB") as process:
        await eventually((tmp_path / "site.tar.part").exists)
        try:
            done = vendor.run("bundle", "--out", out, **packs.environment)
        finally:
            process.kill()
    assert done.code == 42
    assert "is being written by another run" in vendor.fault(done)


def test_wrong_bytes_at_the_source(packs: Packs, whole: Path, tmp_path: Path) -> None:
    """What the source has wrongly is not bundled: 30, the chunk is named, the rest is kept for the next run."""
    published, out = shutil.copytree(packs.directory, tmp_path / "published"), tmp_path / "site.tar"
    media.flip(published / _ARCHIVE, 8 * 5_000_000)
    done = vendor.run("bundle", "--out", out, **{**packs.environment, "MODELS_URL": str(published)})
    assert done.code == 30
    assert "nl-nl 2026.04: the chunk at " in vendor.fault(done)
    assert not out.exists()
    made = vendor.bundled("--out", out, **packs.environment).json
    assert made["bytes_found"] > 9_000_000
    assert _sum(out) == _sum(whole)


def test_versions_that_do_not_fit(packs: Packs, tmp_path: Path) -> None:
    """A pack that the environment names and the source has not is 21; nothing is written."""
    done = vendor.run("bundle", "--out", tmp_path / "x.tar", **{**packs.environment, "REALTIME_COMMON_VERSION": "1"})
    assert done.code == 21
    assert "versions of common are: 2026.04" in vendor.fault(done)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk(packs: Packs, tmp_path: Path) -> None:
    """It shows before the first byte is fetched: 41."""
    real.require_root()
    mount, umount = real.require_tool("mount"), real.require_tool("umount")
    tmp_path.joinpath("stick").mkdir()
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=8m", "none", tmp_path / "stick"], check=True)
    try:
        done = vendor.run("bundle", "--out", tmp_path / "stick/site.tar", **packs.environment)
    finally:
        subprocess.run([umount, "--lazy", tmp_path / "stick"], check=True)
    assert done.code == 41
    assert "site.tar cannot be written: No space left on device" in vendor.fault(done)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "site.zip"], "--out site.zip must end in .tar"),
        (["--out", "site.tar", "--split", "1KiB"], "--split 1024 is too little: at least 64.0 KiB"),
        (["--out", "site.tar", "--split", "4X"], "'4X' is not a size"),
        (["--out", "site.tar", "--since", "none"], "--since none cannot be read: No such file"),
        (["--out", "site.tar", "--since", "/etc/passwd"], "--since /etc/passwd is no receipt"),
        (["--out", "site.tar", "--file", "none"], "none cannot be read: No such file"),
        (["--out", "site.tar", "--file", "/etc/passwd=../x"], "'../x' is no place for /etc/passwd"),
        (["--out", "site.tar", "--file", "/etc/passwd=site.env"], "site/site.env would stand twice"),
        (["--out", "site.tar", "--for", "n" * 1025], "`recipient` has more than 1024 characters"),
        (["--out", "site.tar", "--image", "untagged"], "--image untagged has no tag"),
    ],
)
def test_arguments_that_make_no_sense(packs: Packs, tmp_path: Path, arguments: list[str], told: str) -> None:
    """One line, code 2, nothing written."""
    at = [str(tmp_path / word) if word.startswith("site.") else word for word in arguments]
    done = vendor.run("bundle", *at, **packs.environment)
    assert done.code == 2
    assert told.replace("site.zip", str(tmp_path / "site.zip")) in vendor.fault(done)
    assert list(tmp_path.iterdir()) == []


def test_the_site_gets_files_and_variables(packs: Packs, tmp_path: Path) -> None:
    """`--file`, `--compose`, `--for`: in the bundle, in `inspect`, and in the variables of the site."""
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
    told = json.loads(vendor.run("inspect", out, "--json").out)
    assert (told["recipient"], told["complete"], told["whole"]) == ("Acme, Utrecht", True, True)
    assert {pack["pack"]: pack["version"] for pack in told["packs"]} == dict([COMMON, DUTCH])
    assert "Acme, Utrecht" in vendor.run("inspect", out).out


def test_signatures_go_along_as_they_are(packs: Packs, tmp_path: Path, site: Site) -> None:
    """The files that minisign wrote are in the bundle; `inspect` names the key; a site that wants it installs."""
    minisign = real.require_tool("minisign")
    published, key = shutil.copytree(packs.directory, tmp_path / "published"), tmp_path / "key"
    subprocess.run([minisign, "-G", "-W", "-p", f"{key}.pub", "-s", key], check=True, capture_output=True)
    for ref in (COMMON, DUTCH):
        manifest = published / ref.name / ref.version / "manifest.json"
        command = [minisign, "-S", "-s", str(key), "-m", str(manifest), "-t", f"pack={ref.name} version={ref.version}"]
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    out = tmp_path / "site.tar"
    vendor.bundled("--out", out, **{**packs.environment, "MODELS_URL": str(published)})
    with tarfile.open(out) as file:
        for ref in (COMMON, DUTCH):
            name = f"{ref.name}/{ref.version}/manifest.json.minisig"
            for at in (name, f"copies/{name}"):
                content = file.extractfile(at)
                assert content
                assert content.read() == (published / name).read_bytes()
    number = key.with_suffix(".pub").read_text().splitlines()[0].split()[-1].zfill(16)  # minisign drops leading zeros
    told = json.loads(vendor.run("inspect", out, "--json").out)
    assert {pack["signed_by"] for pack in told["packs"]} == {number}
    signed = site.run(MODELS_URL=str(out), MODELS_PUBLIC_KEY_FILE=f"{key}.pub")
    assert signed.code == 0, signed.err
    unsigned = Site(tmp_path / "other", site.environment).run(MODELS_PUBLIC_KEY_FILE=f"{key}.pub")
    assert unsigned.code == 13


def test_memory_does_not_grow_with_the_pack(packs: Packs, tmp_path: Path) -> None:
    """Buffers are bounded by the same setting as those of an install: as few as there may be are enough."""
    out = tmp_path / "site.tar"
    vendor.bundled("--out", out, **packs.environment, MODELS_MEMORY="8MiB")
    assert os.path.getsize(out) > 10_000_000
