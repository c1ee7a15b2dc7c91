"""Servers on loopback: nginx with and without TLS, and the rsync daemon."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests import services
from tests.bench import tools
from tests.services import certificates

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.certificates import Certificates

_QUIET = 0.05  # seconds after which nginx has logged everything that it has sent
_NGINX = """
daemon off;
{user}
worker_processes {cores};
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format brief '$body_bytes_sent $uri';
    access_log {directory}/access.log brief;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    types {{ }}
    server {{
        listen 127.0.0.1:{port}{tls};
        location /models/ {{ root {site}; }}
        location / {{ root {site}/../foreign; }}
    }}
}}
"""
_TLS = """ ssl;
        ssl_protocols TLSv1.3;
        ssl_certificate {certificate};
        ssl_certificate_key {key}"""
_RSYNC = """
use chroot = no
port = {port}
address = 127.0.0.1
pid file = {directory}/pid
log file = {directory}/log
[trees]
path = {trees}
read only = yes
"""


class Nginx:
    """A running nginx that counts its bytes and CPU time."""

    def __init__(self, directory: Path, port: int, authority: Path | None) -> None:
        self._directory = directory
        self._log = directory / "access.log"
        self.port = port
        self.authority = authority

    @property
    def origin(self) -> str:
        """The beginning of its URLs."""
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    def forget(self) -> None:
        """Reset the byte counter."""
        time.sleep(_QUIET)
        os.truncate(self._log, 0)

    def sent(self, below: str = "/") -> int:
        """Return the bytes of all bodies of paths with this prefix since `forget`."""
        time.sleep(_QUIET)
        lines = (line.split(" ", 1) for line in self._log.read_text().splitlines())
        return sum(int(size) for size, path in lines if path.startswith(below))

    def cpu(self) -> float:
        """Return the CPU seconds of all its processes so far, to a hundredth."""
        master = (self._directory / "pid").read_text().strip()
        workers = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in (master, *workers)]
        return sum(int(ticks) for one in fields for ticks in one[11:13]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def nginx(site: Path, directory: Path, *, tls: bool = False, key_identifiers: bool = True) -> Iterator[Nginx]:
    """Serve a directory; `key_identifiers` as for `certificates.issue`."""
    directory.mkdir(parents=True)
    issued = certificates.issue(directory, key_identifiers=key_identifiers) if tls else None
    port = services.free_port()
    user = "user root;" if os.geteuid() == 0 else ""  # root may read the directories of this run
    content = _NGINX.format(user=user, cores=tools.cores(), directory=directory, port=port, tls=_tls(issued), site=site)
    (directory / "nginx.conf").write_text(content)
    command = [tools.find("nginx") or "nginx", "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"]
    with subprocess.Popen(command) as process:
        try:
            _await(directory / "pid", process)
            yield Nginx(directory, port, issued.authority if issued else None)
        finally:
            process.terminate()


@contextmanager
def rsync(trees: Path, directory: Path) -> Iterator[str]:
    """Serve trees with the rsync daemon; yield the beginning of their URLs."""
    directory.mkdir(parents=True)
    port = services.free_port()
    (directory / "conf").write_text(_RSYNC.format(directory=directory, port=port, trees=trees))
    with subprocess.Popen(["rsync", "--daemon", "--no-detach", f"--config={directory / 'conf'}"]) as process:
        try:
            _await(directory / "pid", process)
            yield f"rsync://127.0.0.1:{port}/trees"
        finally:
            process.terminate()


def _tls(issued: Certificates | None) -> str:
    return _TLS.format(certificate=issued.certificate, key=issued.key) if issued else ""


def _await(sign: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        if sign.exists():
            return
        if process.poll() is not None:
            break
        time.sleep(_QUIET)
    raise RuntimeError(f"a server does not start; see {sign.parent}")
