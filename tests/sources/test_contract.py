"""The contract of `Source`, tested for each kind of source."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from functools import partial
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import ModelsInitError, NoSpaceError, NotFoundError, SourceError, UnavailableError
from models_init.core.events import NullObserver
from models_init.sources.azure.source import AzureSource, ContainerAccess
from models_init.sources.bundle import BundleSource
from models_init.sources.directory import DirectorySource
from models_init.sources.http.client import TransportOptions
from models_init.sources.lazy import LazySource
from models_init.sources.oci.credential_files import RegistryCredentials
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.oci.source import OciSource
from models_init.sources.wrappers.metered import MeteredSource
from models_init.sources.wrappers.mirrors import MirroredSource
from models_init.sources.wrappers.retry import NullRetryObserver, Retry, RetryingSource, RetryPolicy
from tests.bundle import media
from tests.eventually import eventually
from tests.services import cloud_registry
from tests.services.cloud_registry import serve as serve_cloud
from tests.services.registry import PASSWORD as REGISTRY_PASSWORD
from tests.services.registry import USER as REGISTRY_USER
from tests.services.registry import serve as serve_registry
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FOREVER, Broken, FakeSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from models_init.sources.source import Source
    from tests.services.azurite import Azurite
    from tests.services.cloud_registry import Cloud
    from tests.services.registry import Registry

_MIB = 1 << 20
_PACK = "nl-nl/2026.04/pack.tar.zst"
_MANIFEST = "nl-nl/2026.04/manifest.json"
_SIZE = 20 * _MIB + 17
OBJECTS = {
    _PACK: random.Random("pack").randbytes(_SIZE),
    _MANIFEST: b'{"schema": 1}',
    "nl-nl/2026.10/manifest.json": b"",
    "nl-nl/2025.11/manifest.json": b"x",
    "common/2026.04/manifest.json": b"xy",
    "odd/a b+c%20d#e?f&g=h 語/x": b"odd",
}
_IN_REGISTRIES = {key: data for key, data in OBJECTS.items() if not key.startswith("odd/")}
"""The objects that a registry can have: a version is a tag, which allows few characters."""

_PREFIX = "realtime/"
_PARTS = {"bundle": 0, "bundle in parts": 3 * _MIB + 5}


class _NoRetries(NullRetryObserver):
    """Fails at each retry, because nothing is wrong."""

    def retrying(self, retry: Retry) -> None:
        """Fail."""
        raise AssertionError(f"{retry.error} was retried after {retry.wait} s")


def _mirrored() -> MeteredSource:
    """Return a source whose first mirror breaks connections, and whose second one has only one object."""
    broken = FakeSource(OBJECTS, Broken(UnavailableError("broken off"), at=123_456, times=FOREVER))
    incomplete = FakeSource({_PACK: OBJECTS[_PACK]})
    return MeteredSource(MirroredSource(FakeSource(OBJECTS), [broken, incomplete], NullObserver(), is_signed=True), {})


def _retrying(inner: Source) -> RetryingSource:
    return RetryingSource(inner, RetryPolicy(), _NoRetries())


@pytest.fixture(scope="module")
def object_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("objects")
    for key, data in OBJECTS.items():
        (top / key).parent.mkdir(parents=True, exist_ok=True)
        (top / key).write_bytes(data)
    return top


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> Azurite:
    return _stocked(azurite.fresh_container())


@pytest.fixture(scope="module")
def container_tls(azurite_tls: Azurite) -> Azurite:
    return _stocked(azurite_tls.fresh_container())


def _stocked(container: Azurite) -> Azurite:
    for key, data in OBJECTS.items():
        container.put(_PREFIX + key, data)
    container.put("batch/nl-nl/2020.01/manifest.json", b"another product's")
    container.put("realtime.txt", b"not ours")
    return container


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with serve_registry(tmp_path_factory.mktemp("registry"), password=True) as registry:
        yield _with_images(registry)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with serve_registry(tmp_path_factory.mktemp("cloud")) as registry, serve_cloud(_with_images(registry)) as cloud:
        yield cloud


def _with_images(registry: Registry) -> Registry:
    packs: dict[tuple[str, str], dict[str, bytes]] = {}
    for key, data in _IN_REGISTRIES.items():
        name, version, file = key.split("/")
        packs.setdefault((name, version), {})[file] = data
    for (name, version), files in packs.items():
        archive = files.pop("pack.tar.zst", None)
        registry.push(f"models/{name}", version, files, archive)
    registry.push("batch/nl-nl", "2020.01", {"manifest.json": b"another product's"})
    return registry


def _oci(host: str, user: str, password: str) -> OciSource:
    credentials = RegistryCredentials(user, password, "", "the test")
    return OciSource(RegistryAccess(f"http://{host}", "models", lambda _: credentials))


def _azure(container: Azurite) -> AzureSource:
    ca_file = str(container.certificate_authority or "")
    return AzureSource(
        ContainerAccess(container.container_url, _PREFIX, container.sas, TransportOptions(ca_file=ca_file))
    )


@pytest.fixture(
    params=[
        *("fake", "directory", "bundle", "bundle in parts", "azure", "azure over TLS", "retrying", "deferred"),
        *("registry", "registry with redirects", "mirrored"),
    ]
)
def make(request: pytest.FixtureRequest) -> Callable[[], Source]:  # noqa: PLR0911 - one for each kind
    """Return a function that opens a source of one kind, which contains `OBJECTS`."""
    need = request.getfixturevalue
    match request.param:
        case "directory":
            return partial(DirectorySource, need("object_directory"))
        case "bundle" | "bundle in parts" as kind:
            return partial(BundleSource, media.write(need("tmp_path") / "site.tar", OBJECTS, _PARTS[kind]))
        case "azure":
            return partial(_azure, need("container"))
        case "azure over TLS":
            return partial(_azure, need("container_tls"))
        case "registry":
            return partial(_oci, need("registry").host, REGISTRY_USER, REGISTRY_PASSWORD)
        case "registry with redirects":
            return partial(_oci, need("cloud").host, cloud_registry.PUSH, cloud_registry.PASSWORD)
        case "mirrored":
            return _mirrored
        case "retrying":
            return lambda: _retrying(FakeSource(OBJECTS))
        case "deferred":
            return lambda: LazySource("fake:", lambda: FakeSource(OBJECTS))
        case _:
            return lambda: FakeSource(OBJECTS)


@pytest.fixture
async def source(make: Callable[[], Source]) -> AsyncIterator[Source]:
    opened = make()
    yield opened
    await opened.close()


async def fetched(source: Source, key: str, start: int, stop: int) -> bytes:
    """Fetch a range."""
    sink = Collected(lambda _piece: None, size=300_000)
    await source.get_range(key, start, stop, sink)
    return bytes(sink.data)


@pytest.mark.parametrize("key", OBJECTS)
async def test_small_object_is_read_completely(source: Source, key: str) -> None:
    """`read` returns all bytes of an object, also of an empty one, whatever characters its key has."""
    if isinstance(source, OciSource) and key not in _IN_REGISTRIES:
        with pytest.raises(NotFoundError):
            await source.read(key, _SIZE)
    else:
        assert await source.read(key, _SIZE) == OBJECTS[key]


async def test_object_larger_than_limit_is_rejected(source: Source) -> None:
    """`read` accepts an object of exactly the limit, and one byte more is a permanent `SourceError`."""
    assert await source.read(_MANIFEST, len(OBJECTS[_MANIFEST])) == OBJECTS[_MANIFEST]
    for key in (_MANIFEST, _PACK):
        with pytest.raises(SourceError) as refused:
            await source.read(key, len(OBJECTS[key]) - 1)
        assert not isinstance(refused.value, UnavailableError)


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        pytest.param(0, _SIZE, id="whole"),
        pytest.param(0, 8 * _MIB, id="first"),
        pytest.param(_SIZE - 1000, _SIZE, id="last"),
        pytest.param(7 * _MIB, 8 * _MIB, id="middle"),
        pytest.param(0, 1, id="first byte"),
        pytest.param(_SIZE - 1, _SIZE, id="last byte"),
        pytest.param(12_345_678, 12_345_679, id="one byte"),
        pytest.param(4 * _MIB, 8 * _MIB + 1, id="over 4 MiB"),
        pytest.param(1, 8 * _MIB + 2, id="over 8 MiB"),
        pytest.param(1_234_567, 17_654_321, id="unaligned"),
    ],
)
async def test_range_has_exactly_the_requested_bytes(source: Source, start: int, stop: int) -> None:
    """`get_range` passes on exactly the bytes of the range, in order."""
    assert await fetched(source, _PACK, start, stop) == OBJECTS[_PACK][start:stop]


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        pytest.param(5, 5, id="empty"),
        pytest.param(0, 0, id="empty at the start"),
        pytest.param(_SIZE, _SIZE, id="empty at the end"),
        pytest.param(9, 5, id="backwards"),
        pytest.param(_SIZE - 10, _SIZE + 1, id="across the end"),
        pytest.param(_SIZE, _SIZE + 10, id="at the end"),
        pytest.param(_SIZE + 10, _SIZE + 20, id="past the end"),
    ],
)
async def test_range_outside_object_is_rejected(source: Source, start: int, stop: int) -> None:
    """An empty range, or one past the end, is a permanent `SourceError`, and bytes passed on before it are correct."""
    sink = Collected()
    with pytest.raises(SourceError) as refused:
        await source.get_range(_PACK, start, stop, sink)
    assert not isinstance(refused.value, UnavailableError)
    assert OBJECTS[_PACK][start:].startswith(sink.data)


@pytest.mark.parametrize("key", ["nl-nl/2026.04/none", "nl-nl/1/manifest.json", "none/1/manifest.json", "nl-nl"])
async def test_missing_object_is_not_found_error(source: Source, key: str) -> None:
    """A key without an object (such as a directory's name) is a `NotFoundError`, for documents and ranges."""
    with pytest.raises(NotFoundError):
        await source.read(key, 100)
    with pytest.raises(NotFoundError):
        await fetched(source, key, 0, 10)


@pytest.mark.parametrize(
    ("directory", "expected"),
    [
        ("", ["common", "nl-nl", "odd"]),
        ("nl-nl", ["2025.11", "2026.04", "2026.10"]),
        ("nl-nl/2026.04", ["manifest.json", "pack.tar.zst"]),
        ("odd", ["a b+c%20d#e?f&g=h 語"]),
        ("none", []),
        ("nl", []),
        ("none/at/all", []),
    ],
)
async def test_names_are_sorted(source: Source, directory: str, expected: list[str]) -> None:
    """`names` lists the direct entries of a directory or of the top, sorted, and nothing for a missing directory."""
    if isinstance(source, OciSource):
        expected = [name for name in expected if name in "/".join(_IN_REGISTRIES)]
    assert await source.names(directory) == expected


@pytest.mark.parametrize(
    "error",
    [
        KeyError("a bug"),
        ValueError("a bug"),
        OSError(28, "No space left on device"),
        NoSpaceError("full"),
        TimeoutError("not the network's"),
        EOFError("not ours"),
        ConnectionResetError("not the source's"),
        NotFoundError("not the object"),
    ],
    ids=repr,
)
async def test_exception_of_sink_is_propagated_unchanged(source: Source, error: Exception) -> None:
    """The sink's exception is propagated unchanged, the sink is not called again, and the source remains usable."""
    calls = 0

    def fail(_piece: bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise error

    with pytest.raises(type(error)) as raised:
        await source.get_range(_PACK, 0, 9 * _MIB, Collected(fail))
    assert repr(raised.value) == repr(error)
    assert calls == 2
    assert await fetched(source, _PACK, 10, 5 * _MIB) == OBJECTS[_PACK][10 : 5 * _MIB]


async def test_range_can_be_cancelled(source: Source) -> None:
    """A cancelled range ends at once, does not call its sink again, and the source remains usable."""
    sink = Collected(size=1000)
    task = asyncio.create_task(source.get_range(_PACK, 0, _SIZE, sink))
    await eventually(lambda: sink.data, "the first bytes")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    came = bytes(sink.data)
    assert len(came) < _SIZE
    assert OBJECTS[_PACK].startswith(came)
    await asyncio.sleep(0)
    assert sink.data == came
    assert await fetched(source, _PACK, 10, 5 * _MIB) == OBJECTS[_PACK][10 : 5 * _MIB]


async def test_concurrent_calls_get_correct_results(source: Source) -> None:
    """Concurrent overlapping ranges, documents and lists each get the correct result."""
    chance = random.Random("ranges")
    ranges = [sorted(chance.sample(range(_SIZE), 2)) for _ in range(24)]
    wanted = [OBJECTS[_PACK][start:stop] for start, stop in ranges]
    got, documents, lists = await asyncio.gather(
        asyncio.gather(*(fetched(source, _PACK, start, stop) for start, stop in ranges)),
        asyncio.gather(*(source.read(_MANIFEST, 100) for _ in range(8))),
        asyncio.gather(*(source.names("nl-nl") for _ in range(8))),
    )
    assert [data == expected for data, expected in zip(got, wanted, strict=True)] == [True] * len(ranges)
    assert documents == [OBJECTS[_MANIFEST]] * 8
    assert lists == [["2025.11", "2026.04", "2026.10"]] * 8


async def test_close_releases_sockets_and_files(make: Callable[[], Source]) -> None:
    """After `close` no socket or file is left open, used or not; closing twice is allowed."""
    unused = make()
    await unused.close()
    gc.collect()
    before = _open_files()
    source = make()
    await source.read(_MANIFEST, 100)
    await fetched(source, _PACK, 0, 9 * _MIB)
    with pytest.raises(ModelsInitError):
        await fetched(source, "none", 0, 1)
    await source.close()
    await source.close()
    await eventually(lambda: _open_files() <= before, "closing every descriptor")


def _open_files() -> set[str]:
    return {f"{number} {_target(number)}" for number in os.listdir("/proc/self/fd")}


def _target(number: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")
    except FileNotFoundError:  # that of listdir itself
        return ""


async def test_name_is_constant_and_contains_no_secret(source: Source) -> None:
    """`name` is one constant line for people, without a token."""
    name = source.name
    await source.read(_MANIFEST, 100)
    assert name == source.name
    assert name.isprintable()
    assert "sig" not in name
    assert "?" not in name


async def test_fake_source_passes_on_correct_prefix_before_fault() -> None:
    """Before an error, the fake's sink has received a correct prefix: the contract holds for its faults, too."""
    source = FakeSource(OBJECTS, Broken(UnavailableError("gone"), at=100_001))
    sink = Collected()
    with pytest.raises(UnavailableError):
        await source.get_range(_PACK, 5, _SIZE, sink)
    assert bytes(sink.data) == OBJECTS[_PACK][5:100_006]
