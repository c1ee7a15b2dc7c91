"""No output and no file of any command contains passwords, tokens or signed URLs of a registry."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.publish.packs import pack
from tests.registry.conftest import pull_from
from tests.services import cloud_registry
from tests.site import DUTCH, NEWER
from tests.test_support import unpacked
from tests.tokens import leaks

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.publish.pack.version_directory import VersionDirectory
    from tests.services.cloud_registry import Cloud
    from tests.services.registry import Registry
    from tests.site import Packs, Site

_FILES = {"am/final.mdl": bytes(range(256)) * 40, "conf/empty": b""}


def _secrets_in(data: str | bytes) -> list[str]:
    """Return the secrets that the data contains: signatures of tokens and URLs, and the password."""
    data = data if isinstance(data, bytes) else data.encode()
    users = (cloud_registry.PUSH, cloud_registry.PULL)
    forms = [base64.b64encode(f"{user}:{cloud_registry.PASSWORD}".encode()) for user in users]
    forms.append(cloud_registry.PASSWORD.encode())
    return leaks(data) + [form.decode() for form in forms if form in data]


def _below(directory: Path) -> list[str]:
    """Return the files below a directory that contain a secret, or have one in their names."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return [str(path) for path in files if _secrets_in(path.read_bytes()) or _secrets_in(path.name)]


def _models_pack(tmp_path: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MODELS_LOG_LEVEL": "debug", **variables}
    command = [sys.executable, "-m", "models_init.publish", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def _user(user: str) -> dict[str, str]:
    return {"MODELS_REGISTRY_USERNAME": user, "MODELS_REGISTRY_PASSWORD": cloud_registry.PASSWORD}


@pytest.fixture
def directory(tmp_path: Path) -> VersionDirectory:
    """Build a pack that is not published yet."""
    return pack(tmp_path / "out", _FILES)


@pytest.mark.parametrize(
    ("user", "seconds", "code"), [(cloud_registry.PUSH, 300.0, 0), (cloud_registry.PULL, 300.0, 22)], ids=["0", "22"]
)
def test_upload_shows_no_secret(  # noqa: PLR0917 - the columns of the table
    open_registry: Registry, directory: VersionDirectory, tmp_path: Path, user: str, seconds: float, code: int
) -> None:
    with cloud_registry.serve(open_registry, token_uses=2, link_seconds=seconds) as cloud:
        prefix = f"oci://{cloud.host}/published/{tmp_path.name.replace('_', '-').lower()}"
        done = _models_pack(tmp_path, "upload", str(directory.path), "--url", prefix, **_user(user))
        assert (done.returncode, cloud.counts["tokens"] > 0) == (code, True)
    assert _secrets_in(done.stdout + done.stderr) == []
    assert _below(tmp_path) == []


@pytest.mark.parametrize(("seconds", "code"), [(300.0, 0), (-1.0, 20)], ids=["0", "20"])
def test_bundle_and_compare_show_no_secret(
    open_registry: Registry, packs: Packs, tmp_path: Path, seconds: float, code: int
) -> None:
    """This holds for success and if every signed URL is refused; the bundle contains no secret either."""
    with cloud_registry.serve(open_registry, link_seconds=seconds) as cloud:
        variables = {**packs.environment, **pull_from(cloud), "MODELS_RETRY_SECONDS": "0.2"}
        runs = [_models_pack(tmp_path, "bundle", "--out", str(tmp_path / "site.tar"), "--json", **variables)]
        names = [f"{variables['MODELS_URL']}/{DUTCH.name}:{ref.version}" for ref in (DUTCH, NEWER)]
        runs.append(_models_pack(tmp_path, "compare", *names, **variables))
        assert cloud.counts["tokens"] > 2
    assert [run.returncode for run in runs] == [code, code]
    assert [run.args[3] for run in runs if _secrets_in(run.stdout + run.stderr)] == []
    assert _below(tmp_path) == []


def test_volume_and_support_archive_have_no_secret(registry_site: Site, cloud: Cloud, tmp_path: Path) -> None:
    """The archive is made after a failed and a successful install, whose logs are on the volume."""
    site = registry_site.but(**pull_from(cloud), MODELS_LOG_LEVEL="debug")
    runs = [
        site.run(REALTIME_LANGUAGES="fy-nl"),
        site.run(),
        site.run("--check"),
        site.run("--support", str(tmp_path / "s.tar.gz")),
    ]
    assert [run.code for run in runs] == [22, 0, 0, 0]
    assert [number for number, run in enumerate(runs) if _secrets_in(run.out + run.err)] == []
    assert list(site.volume.glob("logs/*"))
    assert _below(site.volume) == []
    members = unpacked((tmp_path / "s.tar.gz").read_bytes())
    assert cloud.host in "".join(members.values())
    assert [name for name, text in members.items() if _secrets_in(text)] == []


def test_search_finds_each_kind_of_secret(cloud: Cloud, tmp_path: Path) -> None:
    """The search of the other tests finds a password, the header of HTTP Basic, and a signature."""
    header = base64.b64encode(f"{cloud_registry.PULL}:{cloud_registry.PASSWORD}".encode())
    for text in (cloud_registry.PASSWORD, header.decode(), f"sig={cloud.sign('/c/blob')}"):
        assert _secrets_in(f"GET {text} 200"), text
    (tmp_path / "log").write_text(cloud_registry.PASSWORD)
    assert _below(tmp_path) == [str(tmp_path / "log")]
