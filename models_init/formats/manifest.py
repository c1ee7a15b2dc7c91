"""The manifest, which describes a pack down to each chunk's digest.

Every `Manifest` object is valid: pydantic checks all rules below when it is constructed, from a document or in code
(`ValueError`). `parse` raises `ManifestError` for an invalid document.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import AfterValidator, FailFast, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from models_init.core.digests import digest_of
from models_init.core.errors import ManifestError, UnsupportedError
from models_init.core.pack_ref import DIGEST_PATTERN, NAME_PATTERN, VERSION_PATTERN, PackRef
from models_init.formats.documents import FORBID_UNKNOWN, flaw, load, shortened
from models_init.formats.ordinary_image import OrdinaryImage  # noqa: TC001 - pydantic evaluates the annotation
from models_init.formats.paths import PATH_BYTES, check_path
from models_init.runtime.collector import collector_paused

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = 1
MIB = 1 << 20

CHUNK_LIMIT = 4 * MIB
"""Maximum decompressed size of a chunk in bytes. A reader must be able to buffer one chunk per worker."""

FRAME_LIMIT = CHUNK_LIMIT + CHUNK_LIMIT // 256 + 1024
"""Maximum compressed size of a chunk in bytes: ZSTD_compressBound plus a generous frame header."""

MANIFEST_LIMIT = 128 * MIB
"""Maximum size of a manifest in bytes. 100,000 small files need about 28 MiB."""

MANIFEST_NAME = "manifest.json"
SIGNATURE_NAME = f"{MANIFEST_NAME}.minisig"

_FILE_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

_SIZE_LIMIT = 2**53 - 1  # the largest integer that every JSON parser reads exactly

EMPTY_DIGEST = digest_of(b"")
"""The digest of an empty file."""


def _checked_path(path: str) -> str:
    check_path(path)
    return path


PackName = Annotated[str, Field(strict=True, pattern=NAME_PATTERN, description="a pack's name, e.g. nl-nl or common")]
Version = Annotated[str, Field(strict=True, pattern=VERSION_PATTERN, description="a pack's version, e.g. 2026.04")]
Digest = Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN, description="sha256 of the plain bytes")]
_ManifestDigest = Annotated[
    str, Field(strict=True, pattern=DIGEST_PATTERN, description="sha256 of the published manifest")
]
Size = Annotated[int, Field(strict=True, ge=0, le=_SIZE_LIMIT)]
Path = Annotated[
    str,
    Field(
        strict=True,
        min_length=1,
        max_length=PATH_BYTES,
        description="relative, '/' between parts, UTF-8; no empty part, no '.' or '..', no control character",
    ),
    AfterValidator(_checked_path),
]


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class Chunk:
    """A piece of one file: one zstd frame of `length` bytes at `offset` of the archive, `size` bytes decompressed."""

    offset: Size
    length: Annotated[int, Field(strict=True, ge=1, le=FRAME_LIMIT)]
    size: Annotated[int, Field(strict=True, ge=1, le=CHUNK_LIMIT)]
    digest: Digest


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class File:
    """A regular file. Its chunks, in order, cover its `size` bytes exactly; an empty file has no chunks."""

    path: Path
    size: Size
    digest: Digest
    chunks: Annotated[tuple[Chunk, ...], FailFast()] = ()
    executable: Annotated[bool, Field(strict=True)] = False

    def __post_init__(self) -> None:
        covered = sum(chunk.size for chunk in self.chunks)
        if covered != self.size:
            raise ValueError(f"{self.path}: its chunks hold {covered} bytes, its size is {self.size}")
        only = self.chunks[0].digest if len(self.chunks) == 1 else self.digest if self.chunks else EMPTY_DIGEST
        if only != self.digest:
            raise ValueError(f"{self.path}: the file has another digest than its only chunk (or than no bytes)")
        # Share one string between equal digests: saves an eighth of the memory of a pack of small files.
        object.__setattr__(self, "digest", only)


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class Archive:
    """The pack's single blob, in the same directory as the manifest. Its name must not begin with `manifest.json`."""

    file: Annotated[str, Field(strict=True, pattern=_FILE_NAME)]
    size: Size
    digest: Digest

    def __post_init__(self) -> None:
        if self.file.startswith(MANIFEST_NAME):
            raise ValueError(f"{self.file!r} is not a name for an archive: it is that of a manifest or a signature")


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class Requirement:
    """Another pack, and the versions of it that this pack works with."""

    pack: PackName
    versions: Annotated[tuple[Version, ...], Field(min_length=1), FailFast()]


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class OpaqueArchive:
    """Marks the archive as opaque (.tar, .tar.gz, .tar.zst): its chunks cannot be fetched separately.

    `size` is the total size of all files in bytes, `entries` the number of files and directories. A published manifest
    may omit both, and lists no files. A site that has unpacked the archive derives a manifest that lists them, with the
    digest of the published manifest in `derived_from`. There, a chunk's offset is that in the concatenation of all
    files in order.

    `image` describes the layers if the archive is an ordinary container image: each layer has a digest, and the
    digest of the archive is that of the image's manifest.
    """

    size: Size | None = None
    entries: Size | None = None
    derived_from: _ManifestDigest | None = None
    image: OrdinaryImage | None = None

    def __post_init__(self) -> None:
        if (
            self.image
            and not self.derived_from
            and (self.image.root or any(each.entries for each in self.image.layers))
        ):
            raise ValueError("its image lists entries, which only a site can know after extraction")


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class Manifest:
    """A pack: files in ascending order of path, their chunks in ascending order of offset, without overlap.

    `directories` lists the empty directories, which no file's path implies, in ascending order. `requires` lists the
    versions of other packs that this one works with, in ascending order of pack. If `plain` is present, the archive is
    opaque, and files are listed only if a site has derived the manifest.
    """

    schema: Annotated[int, Field(strict=True, ge=SCHEMA, le=SCHEMA)]
    pack: PackName
    version: Version
    archive: Archive
    files: Annotated[tuple[File, ...], FailFast()]
    directories: Annotated[tuple[Path, ...], FailFast()] = ()
    requires: Annotated[tuple[Requirement, ...], FailFast()] = ()
    plain: OpaqueArchive | None = None

    def __post_init__(self) -> None:
        _check_requirements(self.pack, self.requires)
        _check_tree(self.files, self.directories)
        if self.plain:
            _check_plain(self, self.plain)
        else:
            _check_extents(self.files, self.archive.size)

    @property
    def image(self) -> OrdinaryImage | None:
        """The layers if the archive is an ordinary container image."""
        return self.plain.image if self.plain else None

    @property
    def ref(self) -> PackRef:
        """The pack's name and version."""
        return PackRef(self.pack, self.version)

    @property
    def size(self) -> int:
        """Total size of all files in bytes; the archive's size if it is opaque and the manifest omits the size."""
        if self.plain and not self.plain.derived_from:
            return self.archive.size if self.plain.size is None else self.plain.size
        return sum(file.size for file in self.files)

    @property
    def is_derived(self) -> bool:
        """True if a site derived this manifest by unpacking an opaque archive. Such manifests are never published."""
        return self.plain is not None and self.plain.derived_from is not None

    @property
    def archive_key(self) -> str:
        """The key of the archive in a source."""
        return f"{self.pack}/{self.version}/{self.archive.file}"

    def placements(self) -> Iterator[Placement]:
        """Yield the placements of all chunks, in archive order."""
        for file in self.files:
            yield from placements(file)

    def all_directories(self) -> list[str]:
        """Return all directories of the pack, parents before children."""
        return sorted(_parents(self.files, self.directories).union(self.directories))


class Placement(NamedTuple):
    """A chunk and its position: `start` is the offset in the file, in bytes."""

    file: File
    chunk: Chunk
    start: int


def placements(file: File) -> Iterator[Placement]:
    """Yield the placements of the file's chunks, in order."""
    start = 0
    for chunk in file.chunks:
        yield Placement(file, chunk, start)
        start += chunk.size


def parse(document: bytes, ref: PackRef) -> Manifest:
    """Parse the manifest of `ref`.

    Raises `UnsupportedError`: the schema is not supported. Raises `ManifestError`: the document is invalid or is the
    manifest of another pack.
    """
    try:
        _check_kind(document[:64].lstrip())
        with collector_paused():
            content = load(document, _make_early)
            _check_schema(content, ref)
            manifest = _MANIFEST.validate_python(content)
    except ValueError as error:
        raise ManifestError(
            f"the manifest of {ref} cannot be used: {flaw(error)}; the publisher must publish it again"
        ) from error
    if manifest.ref != ref:
        raise ManifestError(
            f"the manifest of {ref} is that of {manifest.ref}: the publisher must publish the right one"
        )
    return manifest


_CHUNK, _FILE, _MANIFEST = TypeAdapter(Chunk), TypeAdapter(File), TypeAdapter(Manifest)


def _make_early(fields: dict[str, Any]) -> object:
    """Build each `Chunk` and `File` while parsing, which takes less memory than the JSON objects.

    Other or invalid objects are returned unchanged: `parse` validates the whole document and reports the position.
    """
    try:
        if "offset" in fields:
            return _CHUNK.validate_python(fields)
        if "path" in fields:
            return _FILE.validate_python(fields)
    except ValidationError:
        pass
    return fields


def _check_schema(content: object, ref: PackRef) -> None:
    """Raise `UnsupportedError` for an unsupported schema, before the rest of the document is validated."""
    schema = content.get("schema") if isinstance(content, dict) else None
    if type(schema) is int and schema != SCHEMA:
        raise UnsupportedError(
            f"the manifest of {ref} has schema {shortened(str(schema), 40)}, and this version of models_init "
            f"reads schema {SCHEMA}: "
            f"{'upgrade models_init' if schema > SCHEMA else 'ask the publisher for a newer pack'}"
        )


class Resolved(NamedTuple):
    """A manifest and the digest of its document.

    If the source has only a recompressed archive, `manifest` describes it as an opaque archive, and `original` is the
    published manifest, which the unpacked files must match.
    """

    manifest: Manifest
    digest: str
    original: Manifest | None = None


def resolved(document: bytes, ref: PackRef) -> Resolved:
    """Parse the manifest of `ref` and compute its digest. Raises the errors of `parse`."""
    return Resolved(parse(document, ref), digest_of(document))


def published(document: bytes, ref: PackRef) -> Resolved:
    """Parse the published manifest of `ref`.

    Raises the errors of `parse`. Raises `ManifestError`: the manifest was derived by a site.
    """
    found = resolved(document, ref)
    if found.manifest.is_derived:
        raise ManifestError(
            f"the manifest of {ref} is one that a site wrote when it extracted an opaque archive: the "
            "publisher must publish what `models-pack describe` wrote"
        )
    return found


def recompressed(published: Resolved, archive: Archive) -> Resolved:
    """Return the manifest for installing a pack from `archive`, the same files recompressed.

    Use it if the source does not have the published archive. Raises `ManifestError`: the published archive is opaque,
    so only its digest identifies its content.
    """
    original = published.manifest
    if original.plain:
        raise ManifestError(
            f"the source has the archive of {original.ref} only compressed again, so that its digest cannot be "
            "checked; copy the published image with a tool that keeps its layers, such as skopeo or oras"
        )
    plain = OpaqueArchive(original.size, len(original.files) + len(original.all_directories()))
    return Resolved(
        replace(original, archive=archive, files=(), directories=(), plain=plain), published.digest, original
    )


def origin(derived: Manifest) -> Resolved:
    """Reconstruct the published manifest from a derived one, with everything needed to fetch the archive again.

    Raises `ValueError`: the manifest is not derived.
    """
    if derived.plain is None or derived.plain.derived_from is None:
        raise ValueError(f"the manifest of {derived.ref} is not derived")
    image = derived.plain.image
    if image:
        layers = tuple(replace(layer, entries=None) for layer in image.layers)
        image = replace(image, layers=layers, root="")
    plain = OpaqueArchive(derived.plain.size, derived.plain.entries, image=image)
    return Resolved(replace(derived, files=(), directories=(), plain=plain), derived.plain.derived_from)


def encode(manifest: Manifest) -> bytes:
    """Return the document. Equal manifests give equal bytes. Each file is on its own line, for readable diffs."""
    text = _MANIFEST.dump_json(manifest, exclude_defaults=True)
    return text.replace(b'{"path":', b'\n{"path":') + b"\n"


def json_schema() -> bytes:
    """Return the JSON Schema of the document. It cannot express order and coverage, which only `parse` checks."""
    schema = _MANIFEST.json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "models_init pack manifest"
    return json.dumps(schema, indent=2, sort_keys=True).encode() + b"\n"


def _check_kind(start: bytes) -> None:
    if not start:
        raise ValueError("it is empty")
    for magic, kind in _FOREIGN:
        if start.startswith(magic):
            raise ValueError(kind)


_FOREIGN = (
    (b"\x1f\x8b", "it is compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd"),
    (b"\xef\xbb\xbf", "it begins with a byte order mark"),
    (b"\xff\xfe", "it is UTF-16"),
    (b"\xfe\xff", "it is UTF-16"),
    (b"<", "it is a web page or XML, which a proxy may have sent"),
)
"""First bytes of other formats that may be found in place of a manifest, and their descriptions."""


def _check_tree(files: tuple[File, ...], directories: tuple[str, ...]) -> None:
    parents = _parents(files, directories)
    for paths in ([file.path for file in files], directories):
        before = ""
        for path in paths:
            if path <= before:
                raise ValueError(f"{path} is listed twice, or after {before}; paths must be in ascending order")
            if path in parents:
                raise ValueError(f"{path} is both a file (or an empty directory) and a directory with entries")
            before = path
    if both := {file.path for file in files if directories}.intersection(directories):
        raise ValueError(f"{min(both)} is both a file and a directory")


def _parents(files: tuple[File, ...], directories: tuple[str, ...]) -> set[str]:
    parents: set[str] = set()
    for path in _paths(files, directories):
        parent = path.rpartition("/")[0]
        while parent and parent not in parents:
            parents.add(parent)
            parent = parent.rpartition("/")[0]
    return parents


def _paths(files: tuple[File, ...], directories: tuple[str, ...]) -> Iterator[str]:
    for file in files:
        yield file.path
    yield from directories


def _check_requirements(pack: str, requires: tuple[Requirement, ...]) -> None:
    before = ""
    for requirement in requires:
        if requirement.pack <= before or requirement.pack == pack:
            raise ValueError(f"the requirement of {requirement.pack} is listed twice, out of order, or in its own pack")
        before = requirement.pack


def _check_plain(manifest: Manifest, plain: OpaqueArchive) -> None:
    if plain.image and sum(layer.size for layer in plain.image.layers) != manifest.archive.size:
        raise ValueError("the sizes of its layers differ from the size of its archive")
    if plain.derived_from is None:
        if manifest.files or manifest.directories:
            raise ValueError("its archive is opaque, and it lists files, which only a site can know after extraction")
        return
    end = 0
    for placement in manifest.placements():
        if placement.chunk.offset != end or placement.chunk.length != placement.chunk.size:
            raise ValueError(f"{placement.file.path}: the chunk at {placement.chunk.offset} is not at {end}")
        end += placement.chunk.size
    entries = len(manifest.files) + len(manifest.all_directories())
    if (plain.size, plain.entries) != (end, entries):
        raise ValueError(f"it lists {end} bytes in {entries} entries, not {plain.size} in {plain.entries}")


def _check_extents(files: tuple[File, ...], archive_size: int) -> None:
    end = 0
    for file in files:
        for chunk in file.chunks:
            if chunk.offset < end:
                raise ValueError(f"{file.path}: the chunk at {chunk.offset} overlaps the one before it")
            end = chunk.offset + chunk.length
    if end > archive_size:
        raise ValueError(f"chunks reach to {end}, the archive ends at {archive_size}")
