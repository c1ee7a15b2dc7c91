"""Run a real blob service on loopback: Azurite, installed from its npm lock file, with containers and SAS tokens.

This module does not need pytest, so that the demo can use it too:

    with serve(install()) as azurite:
        azurite.put("nl-nl/2026.04/manifest.json", b"...")
        url, token = azurite.container_url, azurite.sas()
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit

from azure.storage.blob import (
    AccessPolicy,
    ContainerClient,
    ContainerSasPermissions,
    ContentSettings,
    generate_blob_sas,
    generate_container_sas,
)

from tests.services.cached import cached, run
from tests.tokens import real

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.certificates import Certificates

_NPM_FILES = Path(__file__).parent / "azurite-npm"
_START_SECONDS = 60

_KEEPER_SCRIPT = """
trap "" HUP INT TERM
data=$1; shift
"$@" </dev/null &
exec >/dev/null 2>&1
read -r _
kill -9 $!; wait $!
rm -rf "$data"
"""
_KEEPER = ["sh", "-c", _KEEPER_SCRIPT, "sh"]
"""A shell that stops Azurite when its standard input closes, so that nothing remains even if this process is killed."""

_BLOCK = 8 << 20

_numbers = itertools.count(1)
"""Numbers for names that must be unique while a service runs."""


class Request(NamedTuple):
    """A request that the service has answered; `path` is relative to the container and has no query.

    `status` is 0 if the client disconnected before the response; `sent` is the size of the body in bytes.
    """

    method: str
    path: str
    status: int
    sent: int = 0


@dataclass(frozen=True)
class Azurite:
    """One container of a running Azurite, with the account's key."""

    origin: str
    account: str
    container: str
    account_key: str = field(repr=False)
    log: AccessLog = field(repr=False)
    certificate_authority: Path | None = None

    @property
    def container_url(self) -> str:
        """The container's URL without a token, as for MODELS_URL."""
        return f"{self.origin}/{self.account}/{self.container}"

    def fresh_container(self) -> Azurite:
        """Create an empty container of the same service. Every test that writes must use its own container."""
        fresh = replace(self, container=f"models-{next(_numbers)}")
        with fresh._client() as client:  # noqa: SLF001 - of the same class
            client.create_container()
        return fresh

    def remove(self) -> None:
        """Delete the container."""
        with self._client() as client:
            client.delete_container()

    def sas(
        self,
        permissions: str = "rl",
        *,
        expires_in: float = 3600,
        starts_in: float | None = None,
        protocol: str | None = None,
    ) -> str:
        """Return a service SAS for the container, without '?'; seconds count from now and may be negative."""
        signed = generate_container_sas(
            account_name=self.account,
            container_name=self.container,
            account_key=self.account_key,
            permission=permissions,
            expiry=_from_now(expires_in),
            start=None if starts_in is None else _from_now(starts_in),
            protocol=protocol,
        )
        return real(signed)

    def revocable_sas(self, policy: str) -> str:
        """Return a service SAS for the container that depends on a stored access policy; `revoke` makes it invalid."""
        self._set_policy(policy, expires_in=3600)
        signed = generate_container_sas(
            account_name=self.account, container_name=self.container, account_key=self.account_key, policy_id=policy
        )
        return real(signed)

    def revoke(self, policy: str) -> None:
        """Refuse all tokens of a stored access policy from now on."""
        self._set_policy(policy, expires_in=-60)

    def _set_policy(self, policy: str, expires_in: float) -> None:
        permissions = ContainerSasPermissions(read=True, list=True)
        access = AccessPolicy(permission=permissions, expiry=_from_now(expires_in), start=_from_now(-3600))
        with self._client() as client:
            client.set_container_access_policy({policy: access})

    def blob_sas(self, key: str, permissions: str = "r", *, expires_in: float = 3600) -> str:
        """Return a service SAS for one blob, without '?'."""
        signed = generate_blob_sas(
            account_name=self.account,
            container_name=self.container,
            blob_name=key,
            account_key=self.account_key,
            permission=permissions,
            expiry=_from_now(expires_in),
        )
        return real(signed)

    def put(self, key: str, data: bytes, *, encoding: str | None = None) -> None:
        """Store an object, replacing an existing one; `encoding` is its Content-Encoding."""
        settings = ContentSettings(content_encoding=encoding)
        with self._client() as client:
            client.upload_blob(key, data, overwrite=True, content_settings=settings)

    def put_file(self, key: str, path: Path) -> None:
        """Store a file as staged blocks, with bounded memory for any size."""
        with self._client() as client, path.open("rb") as stream:
            client.upload_blob(key, stream, length=path.stat().st_size, overwrite=True, max_concurrency=2)

    def put_tree(self, directory: Path, prefix: str = "") -> None:
        """Store every file below a directory under its relative path after `prefix`."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.put_file(prefix + path.relative_to(directory).as_posix(), path)

    def get(self, key: str) -> bytes:
        """Return an object's bytes."""
        with self._client() as client:
            return bytes(client.download_blob(key).readall())

    def archive(self, key: str) -> None:
        """Move an object to the archive tier, where it cannot be read."""
        with self._client() as client:
            client.get_blob_client(key).set_standard_blob_tier("Archive")

    def delete(self, key: str) -> None:
        """Delete an object."""
        with self._client() as client:
            client.delete_blob(key)

    def keys(self) -> list[str]:
        """List the keys of the container's objects."""
        with self._client() as client:
            return sorted(blob.name for blob in client.list_blobs())

    def requests(self) -> list[Request]:
        """Return all requests to this container so far, including uploads by this class, in order of completion."""
        mark = f"mark-{next(_numbers)}"
        with self._client() as client:
            client.get_blob_client(mark).exists()
        prefix = f"/{self.account}/{self.container}"
        parsed = [_parsed(line, prefix) for line in self.log.until(mark)]
        return [request for request in parsed if request and not request.path.startswith("mark-")]

    def _client(self) -> ContainerClient:
        verify = str(self.certificate_authority) if self.certificate_authority else True
        return ContainerClient.from_container_url(
            self.container_url,
            credential=self.account_key,
            connection_verify=verify,
            use_env_settings=False,
            max_block_size=_BLOCK,
            max_single_put_size=_BLOCK,
        )


class AccessLog:
    """The output of Azurite: one line when it is ready, then one line per request that it has answered."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="azurite-log", daemon=True)
        self._reader.start()

    def until(self, text: str, seconds: float = _START_SECONDS) -> list[str]:
        """Wait up to `seconds` for a line that contains `text`; return all lines up to it."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._find(text) is not None, seconds)
            found = self._find(text)
            if found is None:
                raise RuntimeError(f"Azurite did not say {text!r} but:\n" + "\n".join(self._lines[-20:]))
            return self._lines[: found + 1]

    def join(self) -> None:
        """Read the remaining output after the process has ended."""
        self._reader.join()

    def _find(self, text: str) -> int | None:
        return next((i for i in reversed(range(len(self._lines))) if text in self._lines[i]), None)

    def _read(self) -> None:
        stdout = self._process.stdout
        for line in stdout or ():
            self._append(line.rstrip("\n"))
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _append(self, line: str) -> None:
        with self._changed:
            self._lines.append(line)
            self._changed.notify_all()


def install(npm: str = "npm") -> Path:
    """Return the directory with the Azurite version of the lock file; the first call installs it."""

    def fill(home: Path) -> None:
        shutil.copytree(_NPM_FILES, home, dirs_exist_ok=True)
        run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], cwd=home)

    return cached("azurite", (_NPM_FILES / "package-lock.json").read_bytes(), fill)


@contextlib.contextmanager
def serve(home: Path, *, certificates: Certificates | None = None, node: str = "node") -> Iterator[Azurite]:
    """Run Azurite on a free loopback port with a temporary data directory; stop it and delete the data afterwards."""
    account, key = "modelstest", base64.b64encode(hashlib.sha512(b"modelstest").digest()).decode()
    data = tempfile.mkdtemp(prefix="azurite-")
    command = [node, str(home / "node_modules/azurite/dist/src/blob/main.js"), *_options(data, certificates)]
    environment = os.environ | {"AZURITE_ACCOUNTS": f"{account}:{key}"}
    with _running([*_KEEPER, data, *command], environment) as log:
        origin = log.until("successfully listens on")[-1].rpartition(" ")[2]
        authority = certificates.authority if certificates else None
        yield Azurite(origin, account, "none", key, log, authority).fresh_container()


def _options(data: str, certificates: Certificates | None) -> list[str]:
    options = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--location", data]
    options += ["--skipApiVersionCheck", "--disableTelemetry"]
    if certificates:
        options += ["--cert", str(certificates.certificate), "--key", str(certificates.key)]
    return options


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str]) -> Iterator[AccessLog]:
    with subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        log = AccessLog(process)
        try:
            yield log
        finally:
            assert process.stdin
            process.stdin.close()
            log.join()


def _from_now(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def _parsed(line: str, prefix: str) -> Request | None:
    """Parse a line such as `127.0.0.1 - - [date] "GET /account/container/key?query HTTP/1.1" 206 8388608`."""
    _, _, rest = line.partition('] "')
    request, _, outcome = rest.rpartition('" ')
    if not request:
        return None
    method, target, _ = request.split(" ")
    path = unquote(urlsplit(target).path)
    if path != prefix and not path.startswith(prefix + "/"):
        return None
    status, sent = (int(text) if text.isdecimal() else 0 for text in outcome.split(" ")[:2])
    return Request(method, path[len(prefix) + 1 :], status, sent)
