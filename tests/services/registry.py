"""Run a real container registry on loopback: docker-registry, with or without HTTP Basic and TLS.

with serve(directory, password=True) as registry:
    registry.push("models/nl-nl", "2026.04", {"manifest.json": b"..."}, archive)
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import ssl
import subprocess
import tarfile
import urllib.request
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import zstandard

from models_init.core.digests import digest_of
from models_init.core.pack_ref import PackRef
from models_init.formats import oci
from tests import services
from tests.eventually import eventually_sync

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.services.certificates import Certificates
    from tests.services.token_service import TokenService

USER, PASSWORD = "user", "correct-horse-battery"
_HASH = "$2b$04$4DTTqJtdt4C4W3aiMaao0uq81.kKgF0GH7PPp3Z5WPk66np14s5Je"  # bcrypt of the password

_CONFIG = """
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {directory}/data}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
{auth}
"""
_TLS = ", tls: {{certificate: {certificate}, key: {key}}}"
_AUTH = "auth: {{htpasswd: {{realm: test, path: {directory}/htpasswd}}}}"


@dataclass(frozen=True)
class Registry:
    """A running registry; `directory` has its storage."""

    port: int
    directory: Path
    password: str = field(repr=False)
    certificates: Certificates | None = None

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.port}"

    def blob_path(self, digest: str) -> Path:
        """The file of a blob in the registry's storage."""
        name = digest.removeprefix("sha256:")
        return self.directory / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def call(
        self, method: str, path: str, data: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request; return status, headers and body."""
        url = path if "://" in path else f"{'https' if self.certificates else 'http'}://{self.host}{path}"
        request = urllib.request.Request(url, data, method=method)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        if self.password:
            encoded = base64.b64encode(f"{USER}:{self.password}".encode()).decode()
            request.add_header("Authorization", f"Basic {encoded}")
        context = ssl.create_default_context(cafile=self.certificates.authority) if self.certificates else None
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=60) as response:
                return response.status, dict(response.headers), response.read()
        except HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def put_blob(self, repository: str, data: bytes) -> str:
        """Store a blob; return its digest."""
        digest = digest_of(data)
        _, headers, _ = self.call("POST", f"/v2/{repository}/blobs/uploads/", b"")
        where = headers["Location"]
        status, *_ = self.call(
            "PUT",
            f"{where}{'&' if '?' in where else '?'}digest={digest}",
            data,
            Content_Type="application/octet-stream",
        )
        assert status == 201
        return digest

    def put_manifest(self, repository: str, tag: str, document: bytes, media_type: str = oci.IMAGE_MANIFEST) -> str:
        """Store a manifest under a tag; return its digest."""
        status, _, body = self.call("PUT", f"/v2/{repository}/manifests/{tag}", document, Content_Type=media_type)
        assert status == 201, body
        return digest_of(document)

    def push_image(self, repository: str, tag: str, layers: Sequence[Layer]) -> str:
        """Store an ordinary image; return the manifest's digest."""
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "rootfs": {"type": "layers", "diff_ids": [digest_of(layer.plain) for layer in layers]},
            }
        ).encode()
        blobs = [
            {"mediaType": layer.media_type, "digest": self.put_blob(repository, layer.blob), "size": len(layer.blob)}
            for layer in layers
        ]
        return self._put_image(repository, tag, config, blobs)

    def _put_image(self, repository: str, tag: str, config: bytes, layers: Sequence[Mapping[str, object]]) -> str:
        manifest = {
            "schemaVersion": 2,
            "mediaType": oci.IMAGE_MANIFEST,
            "config": {"mediaType": oci.IMAGE_CONFIG, "digest": self.put_blob(repository, config), "size": len(config)},
            "layers": layers,
        }
        return self.put_manifest(repository, tag, json.dumps(manifest).encode())

    def push(self, repository: str, tag: str, documents: Mapping[str, bytes], archive: bytes | None = None) -> str:
        """Store a pack as `models-pack upload` does, without checking it; return the manifest's digest.

        `archive` is a zstd archive, or any bytes.
        """
        ref = PackRef(repository.rpartition("/")[2], tag)
        layers = [metadata_layer(documents)]
        diff_ids = [digest_of(layers[0])]
        if archive is not None:
            layers.append(archive)
            diff_ids.append(digest_of(plain(archive)))
        config = oci.encode_config(ref, tuple(diff_ids))
        blobs = [
            {"mediaType": oci.LAYER_TAR, "digest": self.put_blob(repository, layer), "size": len(layer)}
            for layer in layers
        ]
        return self._put_image(repository, tag, config, blobs)


@dataclass(frozen=True)
class Layer:
    """A layer of an image, as it is stored; `plain` is its tar stream."""

    blob: bytes
    plain: bytes
    media_type: str = oci.LAYER_TAR

    @classmethod
    def gzip(cls, plain: bytes, level: int = 6) -> Layer:
        """Return a layer that is compressed with gzip."""
        return cls(gzip.compress(plain, level, mtime=0), plain, f"{oci.LAYER_TAR}+gzip")


def plain(archive: bytes) -> bytes:
    """Decompress a zstd archive; other bytes are returned unchanged."""
    if not archive.startswith(b"\x28\xb5\x2f\xfd"):
        return archive
    with zstandard.ZstdDecompressor().stream_reader(archive, read_across_frames=True) as reader:
        return reader.read()


def metadata_layer(documents: Mapping[str, bytes]) -> bytes:
    """Return `manifest.tar` with these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in documents.items():
            member = tarfile.TarInfo(f"{oci.METADATA_DIRECTORY}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@contextlib.contextmanager
def serve(
    directory: Path,
    *,
    password: bool = False,
    certificates: Certificates | None = None,
    tokens: TokenService | None = None,
) -> Iterator[Registry]:
    """Run docker-registry until the end of the block.

    With `password`, every request needs `USER` and `PASSWORD`; with `tokens`, a token of that service. With
    `certificates`, it speaks TLS only.
    """
    program = services.require_tool("docker-registry")
    port = services.free_port()
    (directory / "htpasswd").write_text(f"{USER}:{_HASH}\n")
    auth = _AUTH.format(directory=directory) if password else ""
    if tokens:
        auth = tokens.registry_configuration
    tls = _TLS.format(certificate=certificates.certificate, key=certificates.key) if certificates else ""
    (directory / "registry.yml").write_text(_CONFIG.format(directory=directory, port=port, auth=auth, tls=tls))
    with (directory / "registry.log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(directory / "registry.yml")], stdout=log, stderr=log)
    registry = Registry(port, directory, PASSWORD if password else "", certificates)
    try:
        eventually_sync(lambda: process.poll() is not None or _answers(registry), "the registry")
        assert process.poll() is None, (directory / "registry.log").read_text()
        yield registry
    finally:
        process.kill()
        process.wait()


def _answers(registry: Registry) -> bool:
    try:
        return registry.call("GET", "/v2/")[0] in (200, 401)
    except OSError:
        return False
