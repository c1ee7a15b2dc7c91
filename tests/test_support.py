"""`--support`: an archive that describes a site in any state, without secrets."""

from __future__ import annotations

import fcntl
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from models_init.cli.support import bundle, host_input
from tests.license_files import ENGINE, document
from tests.preflight.mounts import in_tmpfs, read_only
from tests.site import DUTCH, NOWHERE, Site, in_container
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.site import Packs

SECRET = token(se="2020-01-01T00:00:00Z")
PROXY_PASSWORD = "proxy-pass@word/9"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n"
MEMBERS = {
    "README.txt", "settings.json", "program.json", "limits.json", "network.json", "clock.json", "licenses.json",
    "volume.json", "releases.json", "manifests.json", "status.json", "check.json", "not-collected.txt",
}  # fmt: skip


@dataclass(frozen=True)
class Support:
    """An archive, unpacked: text by the name of the member."""

    members: dict[str, str]

    def json(self, name: str) -> Any:
        """Return a member that is JSON."""
        return json.loads(self.members[name])

    @property
    def failed_checks(self) -> dict[str, str]:
        """Return the texts of the failed checks in check.json."""
        return {entry["check"]: entry["text"] for entry in self.json("check.json")["checks"] if entry["exit_code"]}


def unpacked(data: bytes) -> dict[str, str]:
    """Return the members of an archive, whose names are below one directory."""
    members = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for entry in archive:
            directory, _, name = entry.name.partition("/")
            file = archive.extractfile(entry)
            assert (directory, file is not None) == (bundle.DIRECTORY, True)
            members[name] = file.read().decode() if file else ""
    return members


def support(site: Site, path: Path, through: list[str] | None = None, **variables: str) -> Support:
    """Write the archive of a site with secrets in every possible place; assert that it contains none."""
    certificate = path.parent / "key.pem"
    certificate.write_text(KEY)
    secrets = {"MODELS_SAS_TOKEN": SECRET, "HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:9", "NO_PROXY": "*"}
    began = time.monotonic()
    done = site.run("--support", str(path), through=through or [], **(secrets | variables))
    seconds = time.monotonic() - began
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"{path}: ")
    assert path.stat().st_mode & 0o777 == 0o600
    found = unpacked(path.read_bytes())
    everything = "\n".join(found.values())
    assert leaks(everything) == []
    assert [
        text for text in (PROXY_PASSWORD, "pass@word", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC") if text in everything
    ] == []
    assert [name for name in found if name not in MEMBERS and not name.startswith("logs/")] == []
    assert {*found} >= MEMBERS
    assert all(name in found["README.txt"] for name in found if name != "README.txt")
    sys.stdout.write(f"{seconds:.2f} s, {path.stat().st_size} bytes\n")  # `pytest -rP` shows it
    return Support(found)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The path of the archive."""
    return tmp_path / "support.tar.gz"


def _in_container(site: Site, packs: Packs, container: Azurite) -> Site:
    return site.but(**in_container(packs, container.container_url, container.sas()))


# -- sites in twelve states


def test_no_volume(site: Site, archive: Path) -> None:
    found = support(site, archive, MODELS_DIR="/nowhere/models")
    assert found.json("volume.json")["exists"] is False
    assert "volume" in found.failed_checks


def test_read_only_volume(site: Site, archive: Path) -> None:
    site.run()
    found = support(site, archive, read_only(site.volume), REALTIME_LANGUAGE_VERSION="2026.07")
    assert found.json("volume.json")["read_only"] is True
    assert "Read-only file system" in found.failed_checks["volume"]


def test_full_volume(site: Site, archive: Path) -> None:
    site.volume.mkdir()
    found = support(site, archive, in_tmpfs(site.volume, "size=64k"))
    assert found.json("volume.json")["bytes"]["all"] == 64 << 10
    assert "space" in found.failed_checks
    assert " - tmpfs tmpfs " in found.json("volume.json")["mount"]


def test_expired_token(site: Site, packs: Packs, container: Azurite, archive: Path) -> None:
    found = support(_in_container(site, packs, container), archive, MODELS_SAS_TOKEN=container.sas(expires_in=-60))
    assert "expired at" in found.failed_checks["token"]


def test_no_dns_and_a_token_inside_the_url(site: Site, archive: Path) -> None:
    found = support(site, archive, MODELS_URL=NOWHERE)
    assert found.json("check.json")["exit_code"] == 20
    inside = support(site, archive, MODELS_URL=f"{NOWHERE}?{SECRET}")
    assert "MODELS_URL" in inside.json("settings.json")["faults"][0]


def test_wrong_certificate_authority(
    site: Site, packs: Packs, azurite_tls: Azurite, certificates: Certificates, archive: Path
) -> None:
    """The file with the authority holds a private key, which is not in the archive."""
    secure = site.but(**in_container(packs, azurite_tls.container_url, azurite_tls.sas()))
    found = support(secure, archive, MODELS_CA_FILE=str(archive.parent / "key.pem"))
    assert "is a private key" in found.failed_checks["source"]
    assert found.json("network.json")["certificates"]["certificates"] == 0
    trusted = support(secure, archive, MODELS_CA_FILE=str(certificates.authority))
    assert trusted.json("network.json")["certificates"]["certificates"] == 1


def test_damaged_release(site: Site, archive: Path) -> None:
    site.run()
    release = os.readlink(site.volume / "current").partition("/")[2]
    (site.volume / "releases" / release / "release.json").write_bytes(b"{")
    (site.volume / "manifests/nl-nl/2026.04.json").unlink()
    found = support(site, archive)
    assert found.json("releases.json")["releases"] == [{"release": release, "record": None}]
    assert list(found.json("manifests.json")) == ["manifests/common/2026.04.json"]


def test_lock_held(site: Site, archive: Path) -> None:
    site.run()
    with (site.volume / ".lock").open("w") as lock:
        lock.write("install by process 7 on host\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = support(site, archive)
    assert found.json("volume.json")["lock"] == {"is_held": True, "holder": "install by process 7 on host"}


def test_bad_settings(site: Site, archive: Path) -> None:
    found = support(site, archive, MODELS_CONNECTIONS="many", REALTIME_COMMON_VERSION="", MODELS_DIR="models")
    settings = found.json("settings.json")
    assert len(settings["faults"]) == 3
    assert settings["settings"]["MODELS_CONNECTIONS"] == {"value": "many", "is_default": False}
    assert settings["settings"]["MODELS_MEMORY"] == {"value": "48MiB", "is_default": True}
    assert settings["settings"]["MODELS_SAS_TOKEN"]["value"] == f"(set, {len(SECRET)} characters)"
    assert "environment" in found.failed_checks


def test_half_installed(site: Site, packs: Packs, archive: Path) -> None:
    """The archive of a pack is truncated: one pack is installed, the other is staged, and the log has the cause."""
    broken = archive.parent / "source"
    for path in packs.directory.glob("*/2026.04/*"):
        copy = broken / path.relative_to(packs.directory)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    pack = broken / DUTCH.name / DUTCH.version / "pack.tar.zst"
    content = bytearray(pack.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 1000] = bytes(1000)
    pack.write_bytes(content)
    half = site.but(MODELS_URL=broken.as_uri())
    assert half.run().code == 30
    found = support(half, archive)
    assert found.json("status.json")["current"] is None
    assert any(DUTCH.version in entry["name"] for entry in found.json("volume.json")["staged"])
    (log,) = [text for name, text in found.members.items() if name.startswith("logs/")]
    assert json.loads(log.splitlines()[-1])["exit_code"] == 30


def test_rolled_back(site: Site, archive: Path) -> None:
    site.run()
    newer = site.but(REALTIME_LANGUAGE_VERSION="2026.07")
    newer.run()
    newer.run("--rollback")
    found = support(newer, archive)
    releases = found.json("releases.json")
    assert releases["rolled_back_from"] not in (None, releases["current"])
    assert "back-to" in releases["history"][-1]
    assert len([name for name in found.members if name.startswith("logs/")]) == 3


def test_healthy_site(site: Site, packs: Packs, container: Azurite, archive: Path) -> None:
    config = archive.parent
    (config / "license.json").write_bytes(document())
    (config / "license.dat").write_bytes(ENGINE)
    healthy = _in_container(site, packs, container).but(REALTIME_LICENSE_FILE=str(config / "license.dat"))
    assert healthy.run().code == 0
    found = support(healthy, archive, MODELS_SAS_TOKEN=container.sas(), MODELS_INIT_IMAGE="sha256:0123")
    assert found.members["not-collected.txt"] == "everything was collected\n"
    assert found.json("check.json")["ready"] is True
    assert found.json("program.json")["image"] == "sha256:0123"
    licenses = found.json("licenses.json")
    assert (licenses["licensee"], licenses["recorded"]["sha256"]) == (
        "Example Hospital",
        licenses["engine_license_sha256"],
    )
    assert "bm90IGNoZWNrZWQ" not in "".join(found.members.values())  # the signature in license.json


# -- output


def test_archive_on_stdout_with_texts_of_the_host(site: Site) -> None:
    config = {
        "services": {
            "api": {"image": "api:1", "environment": {"DB_PASSWORD": "hunter2hunter2", "SALT": "pepper"}},
            "realtime-models-init": {"environment": {"MODELS_URL": "https://a/b", "MODELS_SAS_TOKEN": SECRET}},
        },
        "configs": {"gateway": {"content": "a secret text"}},
    }
    sent = (
        f"==> compose-ps.txt <==\napi running\n==> compose-config.json <==\n{json.dumps(config)}\n"
        f"==> logs-api.txt <==\nGET /models?{SECRET}\nAuthorization: Bearer abcdefghijklmnopqrstuvwx\n{KEY}"
    )
    command = [sys.executable, "-m", "models_init", "--support", "-", "--with-stdin"]
    environment = {"PATH": os.environ["PATH"], "MODELS_DIR": str(site.volume), **site.environment}
    done = subprocess.run(command, input=sent.encode(), env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    found = unpacked(done.stdout)
    assert found["host/compose-ps.txt"] == "api running\n"
    shown = json.loads(found["host/compose-config.json"])
    assert shown["services"]["api"]["environment"] == {"DB_PASSWORD": "[redacted]", "SALT": "[redacted]"}
    assert shown["services"]["realtime-models-init"]["environment"]["MODELS_URL"] == "https://a/b"
    assert shown["configs"]["gateway"]["content"] == "[redacted]"
    everything = "".join(found.values())
    assert leaks(everything) == []
    secrets = ("hunter2", "pepper", "a secret text", "abcdefghijkl", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC")
    assert [text for text in secrets if text in everything] == []


def test_output_that_cannot_be_written_is_reported(site: Site, tmp_path: Path) -> None:
    done = site.run("--support", str(tmp_path))
    assert done.code == 2
    assert done.fault.startswith(f"--support {tmp_path} cannot be written: Is a directory; name a file in another")


@pytest.mark.parametrize(
    ("output", "code", "fault"),
    [
        (">&-", 2, "models-init: error: the result cannot be written: it is closed; check where standard output goes"),
        ("| true", 0, ""),  # a reader that closes the pipe, such as `head`
    ],
)
def test_archive_on_a_closed_stdout_is_no_bug(site: Site, output: str, code: int, fault: str) -> None:
    """If the reader has closed the pipe, the exit code is 0, as for the other commands."""
    script = f'{{ "$0" -m models_init --support -; echo $? >code; }} {output}'
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.getcwd(), "MODELS_DIR": str(site.volume)}
    directory = site.volume.parent
    done = subprocess.run(
        ["sh", "-c", script, sys.executable],
        env=environment,
        cwd=directory,
        text=True,
        capture_output=True,
        check=False,
    )
    assert ((directory / "code").read_text(), done.stderr.strip()) == (f"{code}\n", fault)


def test_closed_stdin_does_not_end_the_collection(site: Site, archive: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "MODELS_DIR": str(site.volume), **site.environment}
    script = '"$0" -m models_init --support "$1" --with-stdin <&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, archive], env=environment, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "host/stdin: standard input is closed\n" in unpacked(archive.read_bytes())["not-collected.txt"]


def test_file_that_does_not_answer_delays_the_archive_only_a_little(site: Site, archive: Path) -> None:
    """The result is JSON if the log is, also if a part of the collection has not ended."""
    fifo = archive.parent / "token"
    os.mkfifo(fifo)
    began = time.monotonic()
    done = site.run("--support", str(archive), MODELS_SAS_TOKEN_FILE=str(fifo), MODELS_LOG_FORMAT="json")
    assert time.monotonic() - began < 10
    assert (done.code, done.json["file"]) == (0, str(archive))


def test_with_stdin_needs_support(site: Site) -> None:
    assert site.run("--with-stdin").fault == "--with-stdin belongs to --support; see --help"


def test_archive_stays_below_its_limit() -> None:
    members = [bundle.SupportMember(f"{number}.txt", "random", os.urandom(300_000).hex()) for number in range(30)]
    data = bundle.pack(members, [])
    assert 1_000_000 < len(data) < 5_000_000
    assert "characters before this were left out" in unpacked(data)["0.txt"]


def test_sections_of_the_host_are_separated() -> None:
    stream = io.BytesIO(b"ignored\n==> a.txt <==\n1\n==> not a name / <==\n==> b.txt <==\n\xff\n")
    assert list(host_input.sections(stream)) == [("a.txt", "1\n==> not a name / <==\n"), ("b.txt", "\ufffd\n")]
