"""A customer's machine: the program as a separate process, in a clean environment, with a volume.

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

from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MANIFEST_NAME
from models_init.formats.manifest import parse as parse_manifest
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from tests import samples
from tests.publish.packs import built

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
    """The exit code and output of a process that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The result: one JSON object, and nothing else on standard output."""
        assert self.out.count("\n") == 1, self.out
        content = json.loads(self.out)
        assert isinstance(content, dict)
        return content

    @property
    def faults(self) -> list[str]:
        """The error messages, the last lines of stderr; standard output is empty, or has the error with `--json`."""
        lines = self.err.splitlines()
        faults = [line.removeprefix(_FAULT) for line in lines if line.startswith(_FAULT)]
        assert [line for line in lines[-len(faults) :] if not line.startswith(_FAULT)] == []
        assert "Traceback" not in self.err
        assert self.out == "" or self.json["error"], "with --json, the result is the error"
        return faults

    @property
    def fault(self) -> str:
        """The error message, if there is exactly one."""
        (fault,) = self.faults
        return fault

    @property
    def steps(self) -> list[str]:
        """The names of the log events, in order, from lines of the form `time level event key=value …`."""
        return [line.split()[2] for line in self.err.splitlines() if line[:2] == "20"]


@dataclass(frozen=True)
class Site:
    """A volume, and the environment that the operator sets."""

    volume: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def but(self, **variables: str) -> Site:
        """Return a site with other variables; an empty value unsets a variable."""
        return replace(self, environment={**self.environment, **variables})

    def run(self, *arguments: str, through: Sequence[str] = (), python: Sequence[str] = (), **variables: str) -> Done:
        """Run `python -m models_init` until it ends, optionally through a command such as strace."""
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
        """Start the program; it is killed at the end of the block if it still runs."""
        command = [*through, sys.executable, *python, "-m", "models_init", *arguments]
        with subprocess.Popen(
            command, text=True, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def active(self, pack: str) -> Path:
        """Return the path of the active pack."""
        return self.volume / "current" / pack

    def staging(self, ref: PackRef) -> list[Path]:
        """Return the staging directories of the pack."""
        return sorted(path for path in self.volume.glob(f"staging/{ref.name}/{ref.version}@*") if path.is_dir())

    def _environment(self) -> dict[str, str]:
        defaults = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8", "MODELS_DIR": str(self.volume)}
        merged = {**defaults, **self.environment}
        return {name: value for name, value in merged.items() if value}


@dataclass(frozen=True)
class Packs:
    """Built packs in a directory, and the trees that they were built from."""

    directory: Path
    trees: Mapping[PackRef, Path]

    @property
    def url(self) -> str:
        """The URL of the directory."""
        return self.directory.as_uri()

    @property
    def environment(self) -> dict[str, str]:
        """The settings that install COMMON and DUTCH from the directory."""
        return {
            "REALTIME_LANGUAGES": DUTCH.name,
            "REALTIME_LANGUAGE_VERSION": DUTCH.version,
            "REALTIME_COMMON_VERSION": COMMON.version,
            "MODELS_URL": self.url,
        }

    def manifest(self, ref: PackRef) -> Manifest:
        """Return the manifest of a pack."""
        return parse_manifest((self.directory / ref.name / ref.version / MANIFEST_NAME).read_bytes(), ref)

    def objects(self) -> dict[str, bytes]:
        """Return the content of a container with these packs, by key."""
        files = (path for path in self.directory.rglob("*") if path.is_file())
        return {PREFIX + path.relative_to(self.directory).as_posix(): path.read_bytes() for path in files}

    def differences(self, site: Site, *refs: PackRef) -> list[str]:
        """Compare the active packs with the published ones; return a line for each difference."""
        return [line for ref in refs for line in samples.same_tree(self.trees[ref], site.active(ref.name).resolve())]


def archive_key(ref: PackRef) -> str:
    """Return the key of the archive in a container."""
    return f"{PREFIX}{ref.name}/{ref.version}/{ARCHIVE_NAME}"


def manifest_key(ref: PackRef) -> str:
    """Return the key of the manifest in a container."""
    return f"{PREFIX}{ref.name}/{ref.version}/{MANIFEST_NAME}"


def in_container(packs: Packs, url: str, token: str) -> dict[str, str]:
    """Return the settings that install COMMON and DUTCH from a container."""
    return {**packs.environment, "MODELS_URL": url, "MODELS_SAS_TOKEN": token, "MODELS_RETRY_SECONDS": "5"}


def stocked(azurite: Azurite, packs: Packs) -> Azurite:
    """Return a new container with the packs and one blob of another product."""
    container = azurite.fresh_container()
    container.put_tree(packs.directory, PREFIX)
    container.put("batch/large.bin", b"of another product")
    return container


def build_samples(directory: Path) -> Packs:
    """Build COMMON (small), DUTCH (about 13 MiB, more than one span) and NEWER, a version of DUTCH with few changes."""
    common = samples.write_tree(directory / "common", samples.Shape(texts=6, weights=(100_000,), dense=()), "common")
    shape = samples.Shape(texts=24, weights=(9 * samples.MIB + 13, samples.MIB), dense=(3 * samples.MIB + 1,))
    dutch, newer = (samples.write_tree(directory / name, shape) for name in ("dutch", "newer"))
    samples.upgrade(newer)
    return build_packs(directory, {COMMON: common, DUTCH: dutch, NEWER: newer}, level=1, chunk_size=256 << 10)


def build_packs(directory: Path, trees: Mapping[PackRef, Path], **recipe: Any) -> Packs:
    """Build a pack of each tree below `directory/packs`, with options of `BuildOptions`."""
    for ref, tree in trees.items():
        built(tree, directory / "packs", ref, **recipe)
    return Packs(directory / "packs", trees)
