"""Run the site cache of deploy/cache on loopback, as its own user, with a directory that is removed at the end.

with serve(container.container_url, container.sas()) as cache:
    ...  # MODELS_URL=cache.url(container), MODELS_ANONYMOUS=yes

This module does not need pytest, because scripts/measure-cache uses it too.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests import services
from tests.tokens import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.services.certificates import Certificates

_DEPLOYED = Path(__file__).parents[2] / "deploy/cache"
_USER = 10001
_START_SECONDS = 20.0


@dataclass(frozen=True)
class SiteCache:
    """A running cache: its directory, and the beginning of its URLs."""

    directory: Path
    address: str

    @property
    def slices(self) -> Path:
        """The directory of the slices."""
        return self.directory / "slices"

    @property
    def token_file(self) -> Path:
        """The file with the origin's token."""
        return self.directory / "token"

    def url(self, container_url: str) -> str:
        """Return the URL at which the cache serves a container."""
        return self.address + urlsplit(container_url).path

    def write_token(self, text: str) -> None:
        """Replace the token's file, as an operator or a Secret does."""
        fresh = self.directory / "token.new"
        fresh.write_text(text)
        _give(fresh)
        fresh.rename(self.token_file)

    def errors(self) -> str:
        """Return everything that start.sh and nginx have written to stderr."""
        return (self.directory / "errors.log").read_text()

    def accesses(self) -> str:
        """Return the access log."""
        return (self.directory / "access.log").read_text()

    def size(self) -> int:
        """Return the bytes of all slices."""
        return sum(path.stat().st_size for path in self.slices.rglob("*") if path.is_file())


@contextmanager
def serve(
    container_url: str,
    token: str,
    *,
    certificates: Certificates | None = None,
    authorities: Path | None = None,
    changes: Mapping[str, str] = MappingProxyType({}),
    within: Sequence[str] = (),
    **settings: str,
) -> Iterator[SiteCache]:
    """Run the cache for a container; an empty token means none. At the end, its logs must have no token.

    `certificates` are those of the cache, `authorities` those that it trusts for the origin, by default the system's.
    `changes` replaces texts of nginx.conf; `within` is a command that runs the cache, `{slices}` in it the directory of
    its slices; `settings` are variables of start.sh.
    """
    services.require_tool("nginx")
    with _directory() as directory:
        port = services.free_port()
        cache = SiteCache(directory, f"{'https' if certificates else 'http'}://127.0.0.1:{port}")
        _prepare(cache, changes, certificates)
        cache.write_token(f"{token}\n")
        variables = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin",
            "CACHE_ORIGIN": container_url,
            "CACHE_TOKEN_FILE": str(cache.token_file) if token else "",
            "CACHE_DIRECTORY": str(cache.slices),
            "CACHE_RUN": str(directory / "run"),
            "CACHE_LISTEN": f"127.0.0.1:{port}",
            "CACHE_MIN_FREE": "1m",
            "CACHE_POLL": "1",
        }
        if authorities:
            shutil.copy(authorities, cache.directory / "authorities.pem")
            variables["CACHE_ORIGIN_CA"] = f"{cache.directory}/authorities.pem"
        if certificates:
            variables |= {"CACHE_CERTIFICATE": f"{directory}/tls.crt", "CACHE_KEY": f"{directory}/tls.key"}
        command = [word.format(slices=cache.slices) for word in within]
        with _running(cache, command, variables | settings):
            yield cache
        logged = cache.errors() + cache.accesses()
        assert leaks(logged) == []
        assert "sig=" not in logged


@contextmanager
def _directory() -> Iterator[Path]:
    """Create a directory that the cache's user can reach; only root can enter those of pytest."""
    with tempfile.TemporaryDirectory(prefix="models-cache-", dir="/var/tmp") as name:
        os.chmod(name, 0o755)
        yield Path(name)


def _prepare(cache: SiteCache, changes: Mapping[str, str], certificates: Certificates | None) -> None:
    shutil.copytree(_DEPLOYED, cache.directory / "etc")
    configuration = cache.directory / "etc/nginx.conf"
    text = configuration.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    configuration.write_text(text)
    for name in ("slices", "run"):
        (cache.directory / name).mkdir()
        _give(cache.directory / name)
    for name in ("access.log", "errors.log"):
        (cache.directory / name).touch()
        _give(cache.directory / name)
    if certificates:
        for path, name in ((certificates.certificate, "tls.crt"), (certificates.key, "tls.key")):
            shutil.copy(path, cache.directory / name)
            _give(cache.directory / name)


@contextmanager
def _running(cache: SiteCache, within: Sequence[str], variables: dict[str, str]) -> Iterator[None]:
    command = [*within, *_as_user(), "sh", str(cache.directory / "etc/start.sh")]
    with (
        (cache.directory / "access.log").open("ab") as accesses,
        (cache.directory / "errors.log").open("ab") as errors,
        subprocess.Popen(
            command, env=variables, cwd="/", stdin=subprocess.DEVNULL, stdout=accesses, stderr=errors
        ) as process,
    ):
        try:
            _await(cache, process)
            yield
        finally:
            process.terminate()
            process.wait(30)


def _await(cache: SiteCache, process: subprocess.Popen[bytes]) -> None:
    address = urlsplit(cache.address)
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection((address.hostname, address.port)):
            return
        time.sleep(0.02)
    raise RuntimeError(f"the cache does not start:\n{cache.errors()}")


def _as_user() -> list[str]:
    """Return the command that drops root's privileges, as the containers of deploy/cache have none."""
    if os.geteuid() != 0:
        return []
    tool = services.require_tool("setpriv")
    return [
        tool,
        "--reuid",
        str(_USER),
        "--regid",
        str(_USER),
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
    ]


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _USER, _USER)
