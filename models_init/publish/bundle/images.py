"""Fetch container images for a bundle with skopeo, as docker-archive files, which `docker load` reads."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.core.digests import digest_text
from models_init.core.errors import SourceError, UsageError
from models_init.core.redaction import redact
from models_init.formats.bundle_index import IMAGES_DIRECTORY
from models_init.publish.bundle.contents import ContainerImage
from models_init.publish.pack.drafts import draft, translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TRANSPORT = re.compile(r"(docker://|docker-daemon:|containers-storage:)?(.+)\Z")
_TAGGED = re.compile(r"[A-Za-z0-9._/:-]+:[A-Za-z0-9._-]+\Z")


@contextmanager
def spooled(references: Sequence[str], out: Path) -> Iterator[tuple[ContainerImage, ...]]:
    """Fetch the images into a directory next to the bundle, and remove the directory after the block.

    Raises `UsageError`: a reference has no tag, or skopeo is not installed.
    Raises `SourceError`: skopeo failed.
    Raises `LockedError`: another run is making the same bundle.
    """
    if not references:
        yield ()
        return
    directory = out.with_name(f"{out.name}.images")
    skopeo = shutil.which("skopeo")
    if not skopeo:
        raise UsageError("--image needs skopeo: install it (apt-get install skopeo), then run again")
    with translate_os_errors(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
    with draft(directory):  # a lock: another run must not remove the images of this one
        try:
            with translate_os_errors(directory):
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
            yield tuple(_spool(skopeo, reference, directory) for reference in dict.fromkeys(references))
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _spool(skopeo: str, text: str, directory: Path) -> ContainerImage:
    match = _TRANSPORT.match(text)
    transport, reference = (match[1] or "", match[2]) if match else ("", text)
    if not _TAGGED.match(reference):
        raise UsageError(f"--image {text} has no tag: write it as in the compose file, e.g. registry/name:1.0")
    path = directory / (re.sub(r"[^A-Za-z0-9._-]+", "-", reference) + ".tar")
    origin = (transport or _transport(reference)) + reference
    engine = os.environ.get("DOCKER_HOST")  # skopeo does not read this variable itself
    options = ["--src-daemon-host", engine] if engine and origin.startswith("docker-daemon:") else []
    done = subprocess.run(
        [skopeo, "--insecure-policy", "copy", "--quiet", *options, origin, f"docker-archive:{path}:{reference}"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        reason = redact(_message(done.stderr))
        raise SourceError(f"--image {text} cannot be fetched from {origin}: {reason}; check the name and your login")
    with translate_os_errors(path), path.open("rb") as file:
        digest = digest_text(hashlib.file_digest(file, "sha256"))
    return ContainerImage(f"{IMAGES_DIRECTORY}{path.name}", reference, path, path.stat().st_size, digest)


def _message(text: str) -> str:
    """Return the message of skopeo's last log line: `time=… level=fatal msg="…"`."""
    last = (text.strip().splitlines() or ["no reason given"])[-1]
    found = re.search(r'msg="(.*)"\Z', last)
    return found[1].replace('\\"', '"') if found else last


def _transport(reference: str) -> str:
    """Return the transport for the local Docker engine if it has the image, else for the registry."""
    docker = shutil.which("docker")
    known = docker and subprocess.run([docker, "image", "inspect", reference], check=False, capture_output=True)
    return "docker-daemon:" if known and known.returncode == 0 else "docker://"
