"""A customer's machine: the program as a process of its own, in a clean environment, with a volume.

site = Site(tmp_path / "models", {**packs.environment, "MODELS_URL": packs.url})
done = site.run("--json")
assert (done.code, done.json["activated"]) == (0, True)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MANIFEST_NAME
from models_init.formats.manifest import parse as parse_manifest
from models_init.publish.pack.build import BuildOptions, build
from models_init.publish.pack.source_tree import scan
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from tests import samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from models_init.formats.manifest import Manifest
    from tests.services.azurite import Azurite

PREFIX = "realtime/"
NOWHERE = "https://models.invalid/none"
COMMON, DUTCH, NEWER = PackRef("common", "2026.04"), PackRef("nl-nl", "2026.04"), PackRef("nl-nl", "2026.07")
_LIMIT = 120
_FAULT = "models-init: error: "


@dataclass(frozen=True)
class Done:
    """A process that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The result: one JSON object, alone on standard output."""
        assert self.out.count("\n") == 1, self.out
        content = json.loads(self.out)
        assert isinstance(content, dict)
        return content

    @property
    def faults(self) -> list[str]:
        """The lines that tell what failed; they come last, and nothing is on standard output."""
        lines = self.err.splitlines()
        told = [line.removeprefix(_FAULT) for line in lines if line.startswith(_FAULT)]
        assert [line for line in lines[-len(told) :] if not line.startswith(_FAULT)] == []
        assert "Traceback" not in self.err
        assert self.out == ""
        return told

    @property
    def fault(self) -> str:
        """The one line that tells what failed."""
        (told,) = self.faults
        return told

    @property
    def steps(self) -> list[str]:
        """What began or ended, in order: the events of the log lines, `time level event key=value …`."""
        return [line.split()[2] for line in self.err.splitlines() if line[:2] == "20"]


@dataclass(frozen=True)
class Site:
    """A volume, and the environment that the operator has set."""

    volume: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def but(self, **variables: str) -> Site:
        """Return the same with other variables; one that is empty is unset."""
        return replace(self, environment={**self.environment, **variables})

    def run(self, *arguments: str, through: Sequence[str] = (), python: Sequence[str] = (), **variables: str) -> Done:
        """Run `python -m models_init` to its end: through a command such as strace, with options of Python."""
        with self.but(**variables).start(*arguments, through=through, python=python) as process:
            out, err = process.communicate(timeout=_LIMIT)
        return Done(process.returncode, out, err)

    @contextmanager
    def start(
        self,
        *arguments: str,
        through: Sequence[str] = (),
        python: Sequence[str] = (),
        stderr: IO[str] | int = subprocess.PIPE,
    ) -> Iterator[subprocess.Popen[str]]:
        """Run it until the block is left, at the latest."""
        command = [*through, sys.executable, *python, "-m", "models_init", *arguments]
        with subprocess.Popen(
            command, text=True, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def active(self, pack: str) -> Path:
        """Where a program finds the pack's files."""
        return self.volume / "current" / pack

    def staging(self, ref: PackRef) -> list[Path]:
        """The pack's directories on their way in."""
        return sorted(path for path in self.volume.glob(f"staging/{ref.name}/{ref.version}@*") if path.is_dir())

    def _environment(self) -> dict[str, str]:
        usual = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8", "MODELS_DIR": str(self.volume)}
        merged = {**usual, **self.environment}
        return {name: value for name, value in merged.items() if value}


@dataclass(frozen=True)
class Packs:
    """Built packs in a directory, and the trees that they were built of."""

    directory: Path
    trees: Mapping[PackRef, Path]

    @property
    def url(self) -> str:
        """The directory as a source."""
        return self.directory.as_uri()

    @property
    def environment(self) -> dict[str, str]:
        """What an operator sets for the packs COMMON and DUTCH, from the directory."""
        return {
            "REALTIME_LANGUAGES": DUTCH.name,
            "REALTIME_LANGUAGE_VERSION": DUTCH.version,
            "REALTIME_COMMON_VERSION": COMMON.version,
            "MODELS_URL": self.url,
        }

    def manifest(self, ref: PackRef) -> Manifest:
        """What the pack consists of."""
        return parse_manifest((self.directory / ref.name / ref.version / MANIFEST_NAME).read_bytes(), ref)

    def objects(self) -> dict[str, bytes]:
        """What a container holds, by key below it."""
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return {PREFIX + path.relative_to(self.directory).as_posix(): path.read_bytes() for path in files}

    def differences(self, site: Site, *refs: PackRef) -> list[str]:
        """Compare what is active with what was published; a line for each difference."""
        return [line for ref in refs for line in samples.same_tree(self.trees[ref], site.active(ref.name).resolve())]


def archive_key(ref: PackRef) -> str:
    """The archive's key in a container."""
    return f"{PREFIX}{ref.name}/{ref.version}/{ARCHIVE_NAME}"


def manifest_key(ref: PackRef) -> str:
    """The manifest's key in a container."""
    return f"{PREFIX}{ref.name}/{ref.version}/{MANIFEST_NAME}"


def in_container(packs: Packs, url: str, token: str) -> dict[str, str]:
    """Return what an operator sets for the packs COMMON and DUTCH, from a container."""
    return {**packs.environment, "MODELS_URL": url, "MODELS_SAS_TOKEN": token, "MODELS_RETRY_SECONDS": "5"}


def stocked(azurite: Azurite, packs: Packs) -> Azurite:
    """Return a fresh container with the packs, beside another product's."""
    container = azurite.fresh_container()
    container.put_tree(packs.directory, PREFIX)
    container.put("batch/large.bin", b"another product's")
    return container


def build_samples(directory: Path) -> Packs:
    """Build COMMON (small), DUTCH (about 13 MiB, more than one span) and NEWER, which changes little of it."""
    common = samples.write_tree(directory / "common", samples.Shape(texts=6, weights=(100_000,), dense=()), "common")
    shape = samples.Shape(texts=24, weights=(9 * samples.MIB + 13, samples.MIB), dense=(3 * samples.MIB + 1,))
    dutch, newer = (samples.write_tree(directory / name, shape) for name in ("dutch", "newer"))
    samples.upgrade(newer)
    trees = {COMMON: common, DUTCH: dutch, NEWER: newer}
    for ref, tree in trees.items():
        build(scan(tree), BuildOptions(ref, level=1, chunk_size=256 << 10), directory / "packs", NullObserver())
    return Packs(directory / "packs", trees)
