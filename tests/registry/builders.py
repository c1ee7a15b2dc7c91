"""Build ordinary images with buildah and with BuildKit, and push them to a registry."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests import services
from tests.container.daemon import engine
from tests.publish.packs import write
from tests.registry.tools import busybox_root

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_CONTAINERFILE = Path(__file__).parent / "fixtures/legacy.Containerfile"
_BASE = "localhost/busybox:1"

FIRST = {
    "conf/model.conf": b"a = 1\n",
    "conf/removed.conf": b"b = 1\n",
    "graph/old.fst": b"old graph\n",
    "am/final.weights": bytes(range(256)) * 4096,
    "am/tool": b"#!/bin/sh\n",
    "unchanged": b"unchanged\n",
}
SECOND = {
    "conf/model.conf": b"a = 2\n",
    "n" * 120 + "/one-name-that-needs-a-pax-header": b"long\n",
    "espa\u00f1ol/\u4e2d\u6587.txt": b"names beyond ASCII\n",
}


def context(directory: Path) -> Path:
    """Write the files that the images contain."""
    write(directory / "first", FIRST)
    write(directory / "second", SECOND)
    return directory


def push_by_buildah(directory: Path, targets: Mapping[str, tuple[str, ...]]) -> None:
    """Build the image with buildah, a layer for each instruction, and push it to each target with its options."""
    services.require_root()
    services.require_tool("buildah")
    storage = f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/storage"\nrunroot = "{directory}/run"\n'
    (directory / "storage.conf").write_text(storage)
    environment = {"CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"), "BUILDAH_ISOLATION": "chroot"}
    run = _runner("buildah", environment)
    container = run("from", "scratch")
    run("add", container, str(busybox_root(directory / "base")), "/")
    run("commit", "--rm", container, _BASE)
    arguments = ("--layers", "--pull-never", "--network=host", "-f", str(_CONTAINERFILE), "-t", "localhost/legacy:1")
    run("bud", *arguments, str(context(directory / "context")))
    for target, options in targets.items():
        run("push", "--tls-verify=false", *options, "localhost/legacy:1", f"docker://{target}")


def push_by_buildkit(directory: Path, target: str) -> None:
    """Build the image with the BuildKit of a Docker engine, and push it."""
    services.require_tool("tar")
    root = busybox_root(directory / "base")
    subprocess.run(["tar", "-C", str(root), "-cf", str(directory / "base.tar"), "."], check=True)
    with engine() as docker:
        docker.run("import", str(directory / "base.tar"), _BASE)
        docker.run(
            "build", "--network=host", "-f", str(_CONTAINERFILE), "-t", target, str(context(directory / "context")),
            more={"DOCKER_BUILDKIT": "1"},
        )  # fmt: skip
        docker.run("push", target)


def _runner(program: str, variables: dict[str, str]) -> Callable[..., str]:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments], env=os.environ | variables, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{program} {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    return run
