"""Packs of realistic size, built and published with models-pack.

This module does not need pytest, because `scripts/measure-install` uses it too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from models_init.core.pack_ref import PackRef
from tests.samples import MIB, Shape, write_tree
from tests.site import Packs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite

COMMON, DUTCH = PackRef("common", "2026.10"), PackRef("nl-nl", "2026.10")
SHAPES = {
    COMMON: Shape(texts=600, weights=(180 * MIB + 1,), dense=(60 * MIB,)),
    DUTCH: Shape(texts=2600, weights=(540 * MIB + 13, 150 * MIB), dense=(120 * MIB + 7,)),
}
"""Over 1 GiB and 3,000 files together, one of them over 512 MiB."""


def build(directory: Path) -> Packs:
    """Write the trees and build a pack of each."""
    trees = {ref: write_tree(directory / ref.name, shape, f"big {ref.name}") for ref, shape in SHAPES.items()}
    for ref, tree in trees.items():
        options = ["--name", ref.name, "--version", ref.version, "--out", str(directory / "packs"), "--level", "3"]
        _models_pack("build", str(tree), *options)
    return Packs(directory / "packs", trees)


def publish(packs: Packs, container: Azurite) -> None:
    """Upload the packs with a token that can read and write only."""
    _models_pack("upload", str(packs.directory), "--url", container.container_url, MODELS_SAS_TOKEN=container.sas("rw"))


def environment(url: str, token: str) -> dict[str, str]:
    """Return the settings that install both packs."""
    return {
        "REALTIME_LANGUAGES": DUTCH.name,
        "REALTIME_LANGUAGE_VERSION": DUTCH.version,
        "REALTIME_COMMON_VERSION": COMMON.version,
        "MODELS_URL": url,
        "MODELS_SAS_TOKEN": token,
    }


def _models_pack(*arguments: str, **variables: str) -> None:
    command = [sys.executable, "-m", "models_init.publish", *arguments]
    done = subprocess.run(
        command, env={**os.environ, **variables}, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"models-pack {arguments[0]} failed with {done.returncode}:\n{done.stderr}")
