"""A hostile case: how it is prepared, and the expected result."""

from __future__ import annotations

import copy
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import zstandard

from models_init.formats.manifest import MANIFEST_NAME, MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PACK, VERSION, COMMON = "nl-nl", "2026.04", "common"
ARCHIVE = "pack.tar.zst"

Document = dict[str, Any]

FILES: Mapping[str, Sequence[bytes]] = {
    "am/final.mdl": [b"first " * 20_000, b"second " * 10_000],
    "conf/mfcc.conf": [b"--sample-frequency=16000\n"],
    "run.sh": [],
    "words.txt": [b"aap noot mies\n" * 100],
}
"""The chunks of the valid pack, by path."""

COMMON_FILES = {"am/common.mdl": [b"common"]}
"""The chunks of the second valid pack."""


def digest(data: bytes) -> str:
    """Return the digest as in a manifest."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def honest(files: Mapping[str, Sequence[bytes]] = FILES, pack: str = PACK) -> tuple[Document, bytes]:
    """Return the manifest and archive of a valid pack of these chunks."""
    archive, described = zstandard.compress(b"not in the manifest"), []
    for path in sorted(files):
        chunks = []
        for plain in files[path]:
            frame = zstandard.compress(plain)
            chunks.append({"offset": len(archive), "length": len(frame), "size": len(plain), "digest": digest(plain)})
            archive += frame
        whole = b"".join(files[path])
        described.append({"path": path, "size": len(whole), "digest": digest(whole), "chunks": chunks})
    about = {"file": ARCHIVE, "size": len(archive), "digest": digest(archive)}
    document = {"schema": 1, "pack": pack, "version": VERSION, "archive": about, "files": described}
    return document, archive


_HONEST, _ARCHIVE = honest()


def truth() -> Document:
    """Return a copy of the valid pack's manifest, to be changed."""
    return copy.deepcopy(_HONEST)


@dataclass(frozen=True)
class HostileSetup:
    """The directories of a case: a source, a volume, and one outside of both that must not change."""

    root: Path

    @property
    def source(self) -> Path:
        """The directory that MODELS_URL names."""
        return self.root / "source"

    @property
    def pack(self) -> Path:
        """The version directory of the hostile pack."""
        return self.source / PACK / VERSION

    @property
    def volume(self) -> Path:
        """The directory for MODELS_DIR."""
        return self.root / "volume"

    @property
    def outside(self) -> Path:
        """The directory that must not change."""
        return self.root / "outside"

    @property
    def environment(self) -> dict[str, str]:
        """The settings of the operator."""
        return {
            "REALTIME_LANGUAGES": PACK,
            "REALTIME_LANGUAGE_VERSION": VERSION,
            "REALTIME_COMMON_VERSION": VERSION,
            "MODELS_URL": self.source.as_uri(),
            "MODELS_DIR": str(self.volume),
            "MODELS_RETRY_SECONDS": "0.1",
            "MODELS_KEEP_LOGS": "no",
        }

    def create(self) -> None:
        """Create the directories, with valid packs and files outside."""
        (self.outside / "am").mkdir(parents=True)
        (self.outside / "precious").write_bytes(b"precious")
        (self.outside / "am/final.mdl").write_bytes(b"".join(FILES["am/final.mdl"]))
        self.volume.mkdir()
        publish(self.source / COMMON / VERSION, *honest(COMMON_FILES, COMMON))
        publish(self.pack, _HONEST, _ARCHIVE)

    def write(self, document: bytes) -> None:
        """Replace the manifest."""
        (self.pack / MANIFEST_NAME).write_bytes(document)


def publish(directory: Path, document: Document, archive: bytes) -> None:
    """Write manifest and archive of a pack."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MANIFEST_NAME).write_text(json.dumps(document))
    (directory / ARCHIVE).write_bytes(archive)


@dataclass(frozen=True)
class HostileCase:
    """A hostile input, the exit code, and words that only the message of this error contains. Code 0: it is harmless.

    `installed`: the valid packs are already on the volume. `memory`: limit in bytes, 60 MiB of which the interpreter
    needs. `inodes`: inodes of the volume. `{outside}` in `variables` stands for that directory.
    """

    name: str
    words: str
    prepare: Callable[[HostileSetup], object]
    code: int = 10
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    installed: bool = False
    memory: int = 100 * MIB
    inodes: int = 0

    def __str__(self) -> str:
        return self.name

    def environment(self, setup: HostileSetup) -> dict[str, str]:
        """The settings of the operator."""
        own = {name: value.format(outside=setup.outside) for name, value in self.variables.items()}
        return {**setup.environment, **own}


def put(path: Path, what: str) -> None:
    """Create a "fifo", a "directory" or a link to an "endless" device at the path; or "nothing"."""
    match what:
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "endless":
            path.symlink_to("/dev/zero")


def raw(change: Callable[[bytes], bytes]) -> Callable[[HostileSetup], None]:
    """Write the manifest with a change to the bytes of the valid one."""
    return lambda setup: setup.write(change(json.dumps(truth()).encode()))


def said(*keys: str | int, to: object) -> Callable[[HostileSetup], None]:
    """Write the manifest with one value replaced."""

    def prepare(setup: HostileSetup) -> None:
        document = truth()
        inner: Any = document
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = to
        setup.write(json.dumps(document).encode())

    return prepare
