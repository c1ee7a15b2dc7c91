"""Containers of a pod on one volume: the program as the image's user, with the mounts that the chart declares."""

from __future__ import annotations

import filecmp
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kubernetes.kubelet import USER, Mount, in_container, without_network
from tests.site import COMMON, DUTCH, Done, Site

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from models_init.core.pack_ref import PackRef
    from tests.site import Packs

_MODELS, _PACKS = "/mnt/models", "/mnt/packs"


@dataclass(frozen=True)
class Pod:
    """A pod whose containers name `version` of the Dutch pack; `volume` is the directory of the volume on the node.

    Containers never have a network. With `offline`, MODELS_URL is empty and the source is not mounted.
    """

    volume: Path
    packs: Packs
    version: str = DUTCH.version
    read_only: bool = False
    offline: bool = False
    others: tuple[Mount, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)

    def but(self, **changes: object) -> Pod:
        """Return a pod with these fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type] # the tests name fields

    def run(self, *arguments: str) -> Done:
        """Run a container until it ends."""
        return self._site().run(*arguments, through=self._through())

    @contextmanager
    def started(self, *arguments: str, pid_1: bool = False) -> Iterator[subprocess.Popen[str]]:
        """Run a container, which is killed at the end of the block if it still runs."""
        with self._site().start(*arguments, through=self._through(pid_1=pid_1)) as process:
            yield process

    def pack(self, ref: PackRef) -> Path:
        """Return the directory of a pack on the node."""
        return self.volume / "packs" / ref.name / ref.version

    def is_whole(self, ref: PackRef) -> bool:
        """Return True if a pack on the node has the files that were published; modes may have further bits."""
        published, found = self.packs.trees[ref], self.pack(ref)
        paths = [path.relative_to(published) for path in published.rglob("*") if path.is_file()]
        same, _, _ = filecmp.cmpfiles(published, found, [str(path) for path in paths], shallow=False)
        return len(same) == len(paths) == sum(path.is_file() for path in found.rglob("*"))

    def sub_path(self, ref: PackRef) -> Mount:
        """Return an engine's mount of a pack by subPath."""
        return Mount(self.pack(ref), f"/mnt/current/{ref.name}", read_only=True)

    def _site(self) -> Site:
        environment = {
            **self.packs.environment,
            "REALTIME_LANGUAGE_VERSION": self.version,
            "MODELS_URL": "" if self.offline else f"file://{_PACKS}",
            **self.variables,
        }
        return Site(Path(_MODELS), environment)

    def _through(self, *, pid_1: bool = False) -> list[str]:
        mounts = [Mount(self.volume, _MODELS, self.read_only), *self.others]
        if not self.offline:
            mounts.append(Mount(self.packs.directory, _PACKS, read_only=True))
        return [*without_network(pid_1=pid_1), *in_container(*mounts)]


def node_volume(directory: Path, owner: int = USER, mode: int = 0o755) -> Path:
    """Create the root of a volume, or of a hostPath, on a node."""
    directory.mkdir()
    os.chown(directory, owner, owner or USER)
    directory.chmod(mode)
    return directory


def copy_volume(volume: Path, copy: Path) -> Path:
    """Copy a volume with owners, times and links, which is faster than another install."""
    subprocess.run(["cp", "-a", volume, copy], check=True)
    return copy


def names_of(directory: Path) -> list[str]:
    """Return the entries of a directory, sorted."""
    return sorted(os.listdir(directory))


BOTH = (COMMON, DUTCH)
