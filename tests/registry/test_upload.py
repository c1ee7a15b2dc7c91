"""`models-pack upload --url oci://`: published content, versions that never change, and resumed uploads."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from models_init.core.errors import AccessError, ManifestError, UnavailableError, UsageError, WrongBytesError
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats import oci
from models_init.publish.cli.main import main
from models_init.publish.upload import registry as upload_registry
from models_init.publish.upload.registry import PushOptions, push_all
from models_init.sources.http.response import Response
from models_init.sources.oci.credential_files import RegistryCredentials
from models_init.sources.oci.registry import Registry as RegistryClient
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests.publish.packs import REF, archive_of, pack
from tests.registry.conftest import PREFIX
from tests.services import cloud_registry
from tests.services.registry import serve
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from models_init.publish.pack.version_directory import VersionDirectory
    from models_init.publish.upload.published_version import UploadResult
    from tests.services.registry import Registry
    from tests.site import Packs, Site

FILES = {"am/final.mdl": bytes(range(256)) * 40, "conf/empty": b""}
PUSH = RegistryCredentials(cloud_registry.PUSH, cloud_registry.PASSWORD)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve(tmp_path_factory.mktemp("push")) as served:
        yield served


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    """Return a prefix that no other test uses."""
    return f"models/{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"


async def _push(directory: VersionDirectory, registry: Registry, prefix: str, **options: Any) -> UploadResult:
    retrier = Retrier(RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.01))
    access = RegistryAccess(f"http://{registry.host}", prefix)
    (result,) = await push_all([directory], access, PushOptions(retrier, **options), NullObserver())
    return result


def _manifest(registry: Registry, repository: str, tag: str = REF.version) -> dict[str, Any]:
    status, _, body = registry.call("GET", f"/v2/{repository}/manifests/{tag}", Accept=oci.ACCEPT)
    assert status == 200
    content = json.loads(body)
    assert isinstance(content, dict)
    return content


def _stored_archive(registry: Registry, prefix: str) -> bytes:
    """Return the archive of the published `nl-nl`, as the registry has stored it."""
    digest = _manifest(registry, f"{prefix}/nl-nl")["layers"][1]["digest"]
    return registry.blob_path(digest).read_bytes()


async def test_image_has_two_layers_and_the_archive_byte_for_byte(
    tmp_path: Path, registry: Registry, prefix: str
) -> None:
    directory = pack(tmp_path, FILES)
    result = await _push(directory, registry, prefix)
    size = archive_of(directory).stat().st_size
    assert (result.fresh, result.sent, result.found) == (True, size, 0)
    assert result.url == f"oci://{registry.host}/{prefix}/nl-nl:2026.04"
    manifest = _manifest(registry, f"{prefix}/nl-nl")
    kinds = [layer["mediaType"] for layer in manifest["layers"]]
    assert kinds == [oci.LAYER_TAR, oci.LAYER_TAR_ZSTD]
    assert registry.blob_path(manifest["layers"][1]["digest"]).read_bytes() == archive_of(directory).read_bytes()
    config = json.loads(registry.blob_path(manifest["config"]["digest"]).read_bytes())
    assert config["config"]["Labels"] == {oci.PACK_LABEL: "nl-nl", oci.VERSION_LABEL: "2026.04"}


async def test_repeated_upload_sends_nothing(tmp_path: Path, registry: Registry, prefix: str) -> None:
    directory = pack(tmp_path, FILES)
    await _push(directory, registry, prefix)
    again = await _push(directory, registry, prefix)
    assert (again.fresh, again.sent, again.found) == (False, 0, archive_of(directory).stat().st_size)


async def test_published_version_is_never_changed(tmp_path: Path, registry: Registry, prefix: str) -> None:
    await _push(pack(tmp_path / "one", FILES), registry, prefix)
    before = _manifest(registry, f"{prefix}/nl-nl")
    with pytest.raises(UsageError, match="is published with other content, and a published version never changes"):
        await _push(pack(tmp_path / "two", {**FILES, "new": b"x"}), registry, prefix)
    assert _manifest(registry, f"{prefix}/nl-nl") == before


async def test_signature_is_replaced_only_on_request(tmp_path: Path, registry: Registry, prefix: str) -> None:
    directory = pack(tmp_path, FILES)
    directory.signature.write_bytes(b"first")
    await _push(directory, registry, prefix)
    directory.signature.write_bytes(b"second")
    with pytest.raises(UsageError, match="--replace-signatures"):
        await _push(directory, registry, prefix)
    result = await _push(directory, registry, prefix, replace_signatures=True)
    assert (result.fresh, result.sent) == (True, 0)


async def test_interrupted_upload_continues_where_it_ended(
    tmp_path: Path, registry: Registry, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run ends after two pieces; the next one sends only the rest."""
    monkeypatch.setattr(upload_registry, "PIECE", 2000)
    directory = pack(tmp_path, {"noise": hashlib.shake_128(b"x").digest(9000)})
    send, sent = RegistryClient.send, 0

    def failing(self: RegistryClient, request: Any, expected: frozenset[int] = frozenset()) -> Any:
        nonlocal sent
        sent += request.method == "PATCH"
        if request.method == "PATCH" and sent > 2:
            raise UnavailableError("the network is down")
        return send(self, request, expected)

    with monkeypatch.context() as broken:
        broken.setattr(RegistryClient, "send", failing)
        with pytest.raises(UnavailableError):
            await _push(directory, registry, prefix)
    result = await _push(directory, registry, prefix)
    assert result.found == 4000
    assert result.sent == archive_of(directory).stat().st_size - 4000
    assert not list(directory.path.glob(".*.upload"))


def lose_responses(monkeypatch: pytest.MonkeyPatch, key: Callable[[Any], str]) -> set[str]:
    """Lose the response to the first request with each key, except an empty one. Return the set of lost keys."""
    send, lost = RegistryClient.send, set[str]()

    @asynccontextmanager
    async def losing(self: RegistryClient, request: Any, expected: frozenset[int] = frozenset()) -> AsyncIterator[Any]:
        async with send(self, request, expected) as response:
            if (found := key(request)) and found not in lost:
                lost.add(found)
                raise UnavailableError("the response is lost")
            yield response

    monkeypatch.setattr(RegistryClient, "send", losing)
    return lost


async def test_piece_whose_response_is_lost_is_sent_again(
    tmp_path: Path, registry: Registry, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The response to each piece is lost once, after its bytes are stored; the upload begins again."""
    monkeypatch.setattr(upload_registry, "PIECE", 3000)
    directory = pack(tmp_path, {"noise": hashlib.shake_128(b"y").digest(9000)})
    lost = lose_responses(monkeypatch, lambda request: request.headers.get("Content-Range", ""))
    result = await _push(directory, registry, prefix)
    assert len(lost) > 2
    assert result.fresh
    assert _stored_archive(registry, prefix) == archive_of(directory).read_bytes()


async def test_lost_response_to_the_end_of_a_blob_is_no_error(
    tmp_path: Path, registry: Registry, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway may answer 504 while the registry hashes a large blob; the repeated request finds no upload."""
    directory = pack(tmp_path, FILES)

    def end_of_blob(request: Any) -> str:
        return request.path if request.method == "PUT" and "digest=" in request.path else ""

    lost = lose_responses(monkeypatch, end_of_blob)
    result = await _push(directory, registry, prefix)
    assert len(lost) == 3
    assert result.fresh
    assert _stored_archive(registry, prefix) == archive_of(directory).read_bytes()


async def test_version_that_another_upload_publishes_meanwhile_is_not_replaced(
    tmp_path: Path, registry: Registry, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, other = pack(tmp_path / "one", FILES), pack(tmp_path / "two", {**FILES, "new": b"x"})
    send, begun = RegistryClient.send, list[Any]()

    @asynccontextmanager
    async def racing(self: RegistryClient, request: Any, expected: frozenset[int] = frozenset()) -> AsyncIterator[Any]:
        if request.method == "POST" and not begun:
            begun.append(request)
            await _push(other, registry, prefix)
        async with send(self, request, expected) as response:
            yield response

    monkeypatch.setattr(RegistryClient, "send", racing)
    with pytest.raises(UsageError, match="is published with other content, and a published version never changes"):
        await _push(directory, registry, prefix)
    assert _stored_archive(registry, prefix) == archive_of(other).read_bytes()


async def test_location_on_another_host_is_not_written_down(
    tmp_path: Path, registry: Registry, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The location may be signed and therefore secret; without it, an interrupted upload begins again."""
    directory = pack(tmp_path, FILES)
    written: list[list[Path]] = []
    send = RegistryClient.send

    def looking(self: RegistryClient, request: Any, expected: frozenset[int] = frozenset()) -> Any:
        if request.method == "PATCH":
            written.append(list(directory.path.glob(".*.upload")))
        return send(self, request, expected)

    monkeypatch.setattr(RegistryClient, "send", looking)
    await _push(directory, registry, f"{prefix}/own")
    header = Response.header
    # the same registry under another name, which is another origin
    monkeypatch.setattr(Response, "header", lambda self, name: header(self, name).replace("127.0.0.1", "localhost"))
    await _push(directory, registry, f"{prefix}/other")
    assert [len(files) for files in written] == [1, 0]


async def test_archive_is_mounted_from_another_prefix(tmp_path: Path, registry: Registry, prefix: str) -> None:
    directory = pack(tmp_path, FILES)
    await _push(directory, registry, prefix)
    mounted = await _push(directory, registry, f"{prefix}/production", mount_from=prefix)
    assert (mounted.fresh, mounted.sent) == (True, 0)


@pytest.mark.parametrize(
    ("ref", "words"),
    [
        (PackRef("nl-", "2026.04"), "cannot have the repository .*/nl-"),
        (PackRef("a___b", "2026.04"), "cannot have the repository .*/a___b"),
        (PackRef("nl-nl", "2026.04+1"), r"cannot have the tag 2026\.04\+1"),
    ],
    ids=str,
)
async def test_name_that_registries_reject_is_reported_before_anything_is_sent(
    tmp_path: Path, registry: Registry, prefix: str, ref: PackRef, words: str
) -> None:
    fine, wrong = pack(tmp_path, FILES), pack(tmp_path, FILES, ref)
    access = RegistryAccess(f"http://{registry.host}", prefix)
    with pytest.raises(UsageError, match=words):
        await push_all([fine, wrong], access, PushOptions(Retrier(RetryPolicy())), NullObserver())
    assert registry.call("GET", f"/v2/{prefix}/nl-nl/tags/list")[0] == 404


async def test_archive_that_does_not_match_its_manifest_is_not_sent(
    tmp_path: Path, registry: Registry, prefix: str
) -> None:
    directory = pack(tmp_path, FILES)
    data = bytearray(archive_of(directory).read_bytes())
    data[-1] ^= 1
    archive_of(directory).write_bytes(data)
    with pytest.raises(WrongBytesError):
        await _push(directory, registry, prefix)
    directory.manifest.write_bytes(b"{")
    with pytest.raises(ManifestError):
        await _push(directory, registry, prefix)
    assert registry.call("GET", f"/v2/{prefix}/nl-nl/tags/list")[0] == 404


async def test_push_with_token_service_and_expiring_tokens(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload_registry, "PIECE", 100)
    with cloud_registry.serve(registry, token_uses=4) as cloud:
        access = RegistryAccess(f"http://{cloud.host}", "models/tokens", lambda _: PUSH)
        options = PushOptions(Retrier(RetryPolicy(attempts=3)))
        (result,) = await push_all([pack(tmp_path, FILES)], access, options, NullObserver())
        assert result.fresh
        assert cloud.counts["tokens"] > 3
        pull = RegistryCredentials(cloud_registry.PULL, cloud_registry.PASSWORD)
        denied = RegistryAccess(f"http://{cloud.host}", "models/other", lambda _: pull)
        with pytest.raises(AccessError, match="may not push to the repository models/other/nl-nl"):
            await push_all([pack(tmp_path / "other", FILES)], denied, options, NullObserver())


def test_uploaded_packs_are_installed_by_a_site(  # noqa: PLR0917 - fixtures
    registry_site: Site,
    packs: Packs,
    registry: Registry,
    prefix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    url = f"oci://{registry.host}/{prefix}"
    assert main(["upload", str(packs.directory), "--url", url]) == 0
    assert f"nl-nl 2026.04: published at {url}/nl-nl:2026.04" in capsys.readouterr().out
    site = registry_site.but(MODELS_URL=url)
    assert site.run().code == 0
    assert packs.differences(site, COMMON, DUTCH) == []
    assert main(["compare", f"{url}/nl-nl:{DUTCH.version}", f"{url}/nl-nl:{NEWER.version}", "--json"]) == 0
    compared = capsys.readouterr().out
    directories = [str(packs.directory / ref.name / ref.version) for ref in (DUTCH, NEWER)]
    assert main(["compare", *directories, "--json"]) == 0
    assert capsys.readouterr().out == compared


def test_bundle_is_made_from_a_registry(
    registry_site: Site, packs: Packs, open_registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**packs.environment, "MODELS_URL": f"oci://{open_registry.host}/{PREFIX}"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    out = tmp_path / "site.tar"
    assert main(["bundle", "--out", str(out)]) == 0
    site = registry_site.but(MODELS_URL=str(out))
    assert site.run().code == 0
    assert packs.differences(site, COMMON, DUTCH) == []
    shutil.rmtree(site.volume)
