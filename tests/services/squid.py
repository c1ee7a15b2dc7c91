"""Run a real proxy on loopback: squid, with one port for each kind of proxy in use at sites.

with serve(certificates) as squid:
    ...  # HTTPS_PROXY=squid.plain
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests import services

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.certificates import Certificates

USER, PASSWORD = "us@er", "p:ss word"
USERINFO = "us%40er:p%3Ass%20word"
_START_SECONDS = 30.0

_CONFIG = """
http_port 127.0.0.1:{plain} name=plain
https_port 127.0.0.1:{tls} name=tls tls-cert={directory}/leaf.pem tls-key={directory}/leaf.key
http_port 127.0.0.1:{members} name=members
https_port 127.0.0.1:{tls_members} name=tls_members tls-cert={directory}/leaf.pem tls-key={directory}/leaf.key
http_port 127.0.0.1:{refusing} name=refusing

auth_param basic program {helper} {directory}/passwords
auth_param basic children 1 startup=1
acl members myportname members tls_members
acl refusing myportname refusing
acl known proxy_auth REQUIRED
http_access deny refusing
http_access deny members !known
http_access allow all

cache deny all
cache_mem 1 MB
pid_filename none
cache_log {directory}/log/cache.log
access_log stdio:{directory}/log/access.log
coredump_dir {directory}/log
dns_timeout 2 seconds
pinger_enable off
max_filedescriptors 1024
"""
_HELPER = Path("/usr/lib/squid/basic_ncsa_auth")


@dataclass(frozen=True)
class Squid:
    """The ports of a running squid: `members` require `USERINFO`, `refusing` answers 403, `tls…` use TLS themselves."""

    directory: Path
    plain: int
    tls: int
    members: int
    tls_members: int
    refusing: int

    def tunnels(self) -> list[str]:
        """Return the destination of each finished tunnel, with the user's name or `-`."""
        lines = [line.split() for line in (self.directory / "log/access.log").read_text().splitlines()]
        return [f"{fields[6]} {fields[7]}" for fields in lines if fields[5] == "CONNECT" and "/200" in fields[3]]


@contextlib.contextmanager
def serve(certificates: Certificates) -> Iterator[Squid]:
    """Run squid with this certificate; stop it and delete its directory at the end."""
    program = services.require_tool("squid")
    with tempfile.TemporaryDirectory(prefix="squid-") as name:
        directory = Path(name)
        squid = Squid(directory, *(services.free_port() for _ in range(5)))
        _prepare(squid, certificates)
        command = [program, "-N", "-f", str(directory / "squid.conf")]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as process:
            try:
                _await(squid, process)
                yield squid
            finally:
                process.kill()  # a graceful shutdown would take two seconds


def _prepare(squid: Squid, certificates: Certificates) -> None:
    """Write squid's files. Started as root, squid switches to another user, who must read passwords and write logs."""
    directory = squid.directory
    directory.chmod(0o755)
    (directory / "log").mkdir()
    (directory / "log").chmod(0o777)
    (directory / "leaf.pem").write_bytes(certificates.certificate.read_bytes())
    (directory / "leaf.key").write_bytes(certificates.key.read_bytes())
    command = [services.require_tool("openssl"), "passwd", "-apr1", PASSWORD]
    digest = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    (directory / "passwords").write_text(f"{USER}:{digest}")
    (directory / "squid.conf").write_text(_CONFIG.format(helper=_HELPER, **vars(squid)))


def _await(squid: Squid, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", squid.refusing)).close()
            return
        time.sleep(0.01)
    log = squid.directory / "log/cache.log"
    raise RuntimeError(f"squid does not start: {log.read_text() if log.exists() else 'it wrote no log'}")
