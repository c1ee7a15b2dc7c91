"""Build the images of the tests: the one of this checkout, and the replacement of asr-server."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.container.daemon import Docker

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.13-slim-bookworm"
REGISTRY = "localhost/test"
IMAGE = f"{REGISTRY}/models-init:dev"
_ENGINE = Path(__file__).parent / "fixtures/engine"
PATH = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
_SECRETS = {
    "ca": os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
    "pipconf": os.environ.get("PIP_CONFIG_FILE", "/etc/pip.conf"),
}


def import_base(docker: Docker, tarball: Path) -> None:
    """Import the replacement of the public Python image, which also contains nginx."""
    docker.run("import", "--change", f"ENV {PATH}", "--change", 'CMD ["python3"]', str(tarball), BASE)


def build(builder: str, tag: str, *options: str, root: Path = ROOT, environment: dict[str, str]) -> None:
    """Build the image as for a release, with the secrets by which this machine reaches its package index."""
    secrets = [f"--secret=id={name},src={path}" for name, path in _SECRETS.items() if Path(path).is_file()]
    command = [str(root / "scripts/image"), builder, tag, "--network=host", *secrets, *options]
    done = subprocess.run(
        command, env=environment, check=False, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert done.returncode == 0, done.stdout[-4000:]


def build_stand_in(docker: Docker, image: str) -> None:
    """Build the replacement of asr-server on the image under test, whose Python it uses."""
    docker.run(
        "build", "--quiet", "--network=host", f"--build-arg=BASE={image}", f"--tag={REGISTRY}/server:dev",
        f"--file={_ENGINE}/Containerfile", str(_ENGINE), more={"DOCKER_BUILDKIT": "1"},
    )  # fmt: skip
