"""Challenges, signed URLs, and the documents of registries."""

from __future__ import annotations

import io
import json
import tarfile
from typing import Any

import pytest

from models_init.core.digests import digest_of
from models_init.core.errors import ManifestError, UnavailableError, UnsupportedError
from models_init.formats import oci
from models_init.sources.oci.challenges import Challenge, parse_challenge
from models_init.sources.oci.credential_files import RegistryCredentials
from models_init.sources.oci.links import make_link
from models_init.sources.oci.lists import RegistryLists
from models_init.sources.oci.metadata_layer import read_metadata
from models_init.sources.oci.registry import Registry, RegistryAccess, Request
from models_init.sources.oci.tokens import Scope
from tests.services.faults import Raw, redirect
from tests.services.faulty import FaultyServer

_DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("Negotiate", None),
        ('Basic realm="Registry Realm"', Challenge("basic", "Registry Realm")),
        ('basic realm="x"', Challenge("basic", "x")),
        (
            'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"',
            Challenge("bearer", "https://auth.example/token", "reg", "repository:a/b:pull,push"),
        ),
        (
            'Bearer realm="https://a/t", service=reg, error="insufficient_scope"',
            Challenge("bearer", "https://a/t", "reg", "", "insufficient_scope"),
        ),
        ('Basic realm="x", Bearer realm="https://a/t"', Challenge("bearer", "https://a/t")),
        (
            r'Bearer realm="https://a/t",service="a \"quoted\" name"',
            Challenge("bearer", "https://a/t", 'a "quoted" name'),
        ),
    ],
)
def test_challenge_is_parsed(header: str, expected: Challenge | None) -> None:
    assert parse_challenge(header) == expected


async def test_challenge_is_found_in_any_of_several_headers() -> None:
    """A proxy in front of a registry offers Negotiate in a header of its own, before the registry's."""
    challenges = b'WWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic realm="registry"\r\n'
    refusal = Raw(b"HTTP/1.1 401 Unauthorized\r\n" + challenges + b"Content-Length: 0\r\n\r\n", times=1)
    async with FaultyServer({"v2/a/tags/list": b"{}"}, [refusal]) as server:
        credentials = RegistryCredentials("user", "not-a-secret-password")
        registry = Registry(RegistryAccess(f"http://127.0.0.1:{server.port}", "", lambda _: credentials))
        async with registry.send(Request("GET", "/v2/a/tags/list", Scope("a"))) as response:
            assert await response.body(10, "it") == b"{}"
        await registry.close()
        assert server.seen[-1].headers["authorization"] == credentials.basic()


@pytest.mark.parametrize("link", ["http://{host}/v2/a/tags/list?n=2", "/v2/a/tags/list?n=2", "list?n=2", "?n=2"])
async def test_link_to_next_page_may_be_absolute_or_relative(link: str) -> None:
    """Clouds send absolute addresses; other links come first in a header of their own."""
    async with FaultyServer({"v2/a/tags/list": b'{"tags": ["2.0"]}'}) as server:
        host, body = f"127.0.0.1:{server.port}", '{"tags": ["1.0"]}'
        links = f'Link: </help>; rel="help"\r\nLink: <{link.format(host=host)}>; rel="next"\r\n'
        head = f"HTTP/1.1 200 OK\r\n{links}Content-Length: {len(body)}\r\n\r\n"
        server.script(Raw(f"{head}{body}".encode(), times=1))
        access = RegistryAccess(f"http://{host}")
        registry = Registry(access)
        assert await RegistryLists(access, registry).versions("a") == ["1.0", "2.0"]
        await registry.close()
        assert server.seen[-1].query == "n=2"


async def test_registry_is_asked_for_another_data_host_after_a_failure() -> None:
    """A link is kept for up to 20 minutes, longer than the retries of a host that has gone."""
    async with FaultyServer({"blob": b"0123456789"}) as other, FaultyServer({}) as server:
        registry = Registry(RegistryAccess(f"http://127.0.0.1:{server.port}"))

        async def read() -> bytes:
            async with registry.blob("a", _DIGEST) as response:
                return await response.body(10, "it")

        async with FaultyServer({"blob": b"0123456789"}) as gone:
            server.script(redirect(f"http://127.0.0.1:{gone.port}/blob"))
            assert [await read(), await read()] == [b"0123456789"] * 2
        server.script(redirect(f"http://127.0.0.1:{other.port}/blob"))
        with pytest.raises(UnavailableError, match="check the network"):
            await read()
        assert await read() == b"0123456789"
        await registry.close()
        assert len(server.seen) == 2


@pytest.mark.parametrize(
    ("query", "is_usable"),
    [
        ("se=2099-01-01T00%3A00%3A00Z&sig=x", True),
        ("se=2001-01-01T00%3A00%3A00Z&sig=x", False),
        ("Expires=4102444800&Signature=x", True),
        ("Expires=1000000000&Signature=x", False),
        ("X-Amz-Date=20010101T000000Z&X-Amz-Expires=1200&X-Amz-Signature=x", False),
        ("X-Goog-Date=20990101T000000Z&X-Goog-Expires=1200", True),
        ("token=of-unknown-life", True),
        ("", True),
    ],
)
def test_link_is_used_until_it_expires(query: str, is_usable: bool) -> None:  # noqa: FBT001 - a column of the table
    link = make_link(f"https://data.example/blob?{query}")
    assert link.is_usable is is_usable
    assert "data.example" not in repr(link)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ({"schemaVersion": 1, "fsLayers": []}, UnsupportedError, "schema 1"),
        ({"layers": []}, ManifestError, "no layers"),
        ({"manifests": [], "layers": []}, ManifestError, "both layers and manifests"),
        (
            {"layers": [{"mediaType": oci.LAYER_TAR, "digest": "sha512:abc", "size": 1}]},
            UnsupportedError,
            r"a digest other than sha256 \(sha512:abc\)",
        ),
        ({"layers": [{"mediaType": oci.LAYER_TAR, "digest": "sha256:../x", "size": 1}]}, ManifestError, "digest"),
        ({"layers": [{"mediaType": oci.LAYER_TAR, "digest": _DIGEST, "size": -1}]}, ManifestError, "size"),
        ({"layers": [{"mediaType": f"{oci.LAYER_TAR}+gzip+encrypted"}]}, UnsupportedError, "encrypted layer"),
        (
            {"layers": [{"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"}]},
            UnsupportedError,
            "the registry does not contain",
        ),
        (
            {"config": {"mediaType": "application/vnd.cncf.helm.config.v1+json"}},
            UnsupportedError,
            "not a container image",
        ),
        ({"layers": [{"mediaType": "application/vnd.docker.ai.gguf.v3"}]}, UnsupportedError, "not a container image"),
        ({"artifactType": "application/vnd.cncf.model.manifest.v1+json"}, UnsupportedError, "not a container image"),
        (
            {"config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": _DIGEST, "size": 2}},
            UnsupportedError,
            r"not a container image \(application/vnd.oci.empty.v1\+json\)",
        ),
    ],
)
def test_unusable_image_manifest_is_reported(content: dict[str, Any], error: type[ManifestError], words: str) -> None:
    layer = {"mediaType": oci.LAYER_TAR, "digest": _DIGEST, "size": 1}
    document = {"schemaVersion": 2, "config": {**layer, "mediaType": oci.IMAGE_CONFIG}, "layers": [layer], **content}
    with pytest.raises(error, match=words) as refused:
        oci.parse_manifest(json.dumps(document).encode(), "reg.example/nl-nl:1")
    assert str(refused.value).startswith("reg.example/nl-nl:1")


def test_sparse_file_in_the_metadata_is_refused_before_it_is_read() -> None:
    """A layer of 10 KiB would otherwise become 1 TiB of zeros in memory."""
    entry, layer = tarfile.TarInfo(f"{oci.METADATA_DIRECTORY}/manifest.json"), io.BytesIO()
    entry.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.map": f"{1 << 40},0", "GNU.sparse.numblocks": "1"}
    with tarfile.open(fileobj=layer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(entry)
    with pytest.raises(ManifestError, match="the first layer of it cannot be used: it has a sparse file"):
        read_metadata(layer.getvalue(), digest_of(layer.getvalue()), "it")


def test_layer_of_unknown_media_type_is_reported() -> None:
    layer = {"mediaType": "application/octet-stream", "digest": _DIGEST, "size": 1}
    document = {"schemaVersion": 2, "config": {**layer, "mediaType": oci.IMAGE_CONFIG}, "layers": [layer]}
    image = oci.parse_manifest(json.dumps(document).encode(), "reg.example/nl-nl:1")
    assert isinstance(image, oci.ImageManifest)
    with pytest.raises(UnsupportedError, match=r"a layer of an unknown media type \(application/octet-stream\)"):
        oci.check_layers(image, "reg.example/nl-nl:1")


@pytest.mark.parametrize("count", [0, 2])
def test_configuration_of_other_layers_is_reported(count: int) -> None:
    layer = {"mediaType": oci.LAYER_TAR, "digest": _DIGEST, "size": 1}
    document = {"schemaVersion": 2, "config": {**layer, "mediaType": oci.IMAGE_CONFIG}, "layers": [layer]}
    image = oci.parse_manifest(json.dumps(document).encode(), "reg.example/nl-nl:1")
    assert isinstance(image, oci.ImageManifest)
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [_DIGEST] * count}}).encode()
    with pytest.raises(ManifestError, match=f"its configuration names {count} layers, its manifest 1"):
        oci.parse_config(config, image, "reg.example/nl-nl:1")


def _index(*platforms: tuple[str, str]) -> oci.ImageIndex:
    entries = [
        {"digest": _DIGEST[:-2] + f"{n:02}", "size": 1, "platform": {"os": os, "architecture": architecture}}
        for n, (os, architecture) in enumerate(platforms)
    ]
    found = oci.parse_manifest(json.dumps({"schemaVersion": 2, "manifests": entries}).encode(), "x")
    assert isinstance(found, oci.ImageIndex)
    return found


@pytest.mark.parametrize(
    ("platforms", "chosen"),
    [
        ([("linux", "arm64"), ("linux", "amd64")], "01"),
        ([("linux", "arm64"), ("unknown", "unknown")], "00"),
        ([("unknown", "unknown"), ("linux", "amd64")], "01"),
    ],
)
def test_image_for_this_platform_is_selected(platforms: list[tuple[str, str]], chosen: str) -> None:
    assert oci.select_platform(_index(*platforms), "amd64", "x").digest.endswith(chosen)


@pytest.mark.parametrize("platforms", [[("linux", "arm64"), ("windows", "amd64")], [("unknown", "unknown")]])
def test_index_without_this_platform_is_reported(platforms: list[tuple[str, str]]) -> None:
    with pytest.raises(UnsupportedError, match=r"without an image for linux/amd64; its platforms are: "):
        oci.select_platform(_index(*platforms), "amd64", "x")


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("models/nl-nl", True),
        ("a__b", True),
        ("a---b", True),
        ("nl-", False),
        ("a___b", False),
        ("A", False),
        ("", False),
    ],
)
def test_repository_names_are_those_that_registries_accept(name: str, is_valid: bool) -> None:  # noqa: FBT001 - a column of the table
    assert oci.is_repository(name) is is_valid
