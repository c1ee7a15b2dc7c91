"""Uploads: what they write, what they never change, resumption and errors."""

from __future__ import annotations

import asyncio
import random
import ssl
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from azure.storage.blob import ContainerClient

from models_init.core.errors import (
    AccessError,
    ManifestError,
    ModelsInitError,
    NotFoundError,
    SourceError,
    UnavailableError,
    UsageError,
    WrongBytesError,
)
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import MIB
from models_init.publish.upload.container import ConflictError, Container, UploadTarget, opened
from models_init.publish.upload.published_version import UploadResult
from models_init.publish.upload.upload import BLOCK_COUNT, BLOCK_SIZE, UploadOptions, block_size, upload_packs
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests.clock import FakeClock
from tests.publish.observers import CountingObserver
from tests.publish.packs import archive_of, pack, sha256
from tests.services.faults import Cut, Raw, Reset, WholeObject, expired, not_public, redirect, refused, throttled
from tests.services.faulty import FOREVER, Fault, FaultyServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.publish.pack.version_directory import VersionDirectory
    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates

FILES = {"am/final.mdl": bytes(range(256)) * 40, "conf/empty": b""}
DIRECTORY = "realtime/nl-nl/2026.04"
MANIFEST, SIGNATURE, ARCHIVE = (
    f"{DIRECTORY}/{name}" for name in ("manifest.json", "manifest.json.minisig", "pack.tar.zst")
)
TOKEN = f"sv=2026-10-06&sp=rw&sig={quote('A' * 43 + '=', safe='')}"


def target(
    url: str, token: str = TOKEN, *, attempts: int = 1, clock: FakeClock | None = None, ca_file: str = ""
) -> UploadTarget:
    clock = clock or FakeClock()
    return UploadTarget(url, token, Retrier(RetryPolicy(attempts=attempts, sleep=clock.sleep, clock=clock)), ca_file)


def at(azurite: Azurite, permissions: str = "rw") -> UploadTarget:
    return target(azurite.container_url, azurite.sas(permissions))


async def published(
    directory: VersionDirectory,
    where: UploadTarget,
    *,
    replace_unfinished: bool = False,
    observer: Observer | None = None,
) -> UploadResult:
    async with opened(where) as container:
        options = UploadOptions("realtime/", 4, replace_unfinished)
        (result,) = await upload_packs([directory], container, options, observer or NullObserver())
        return result


@pytest.fixture
def fresh(azurite: Azurite) -> Azurite:
    return azurite.fresh_container()


@pytest.fixture
def large(tmp_path: Path) -> VersionDirectory:
    """A pack of five blocks of random bytes."""
    return pack(tmp_path / "large", {"noise": _noise(4 * BLOCK_SIZE + 5)}, level=1)


def _noise(size: int) -> bytes:
    return random.Random(3).randbytes(size)


# --- published files ---


async def test_archive_and_manifest_are_published_unchanged(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    result = await published(directory, at(fresh))
    assert fresh.keys() == [MANIFEST, ARCHIVE]
    assert fresh.get(MANIFEST) == directory.document()
    assert fresh.get(ARCHIVE) == archive_of(directory).read_bytes()
    assert result == UploadResult(
        PackRef("nl-nl", "2026.04"),
        f"{fresh.container_url}/{DIRECTORY}",
        fresh=True,
        sent=archive_of(directory).stat().st_size,
        found=0,
    )


async def test_blobs_have_content_type_and_digest(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    directory.signature.write_text("untrusted comment: signature\n")
    await published(directory, at(fresh))
    with ContainerClient.from_container_url(f"{fresh.container_url}?{fresh.sas('r')}") as client:
        facts = {key: client.get_blob_client(key).get_blob_properties() for key in (ARCHIVE, MANIFEST, SIGNATURE)}
    assert facts[ARCHIVE].metadata == {"digest": sha256(archive_of(directory).read_bytes())}
    assert [facts[key].content_settings.content_type for key in (ARCHIVE, MANIFEST, SIGNATURE)] == [
        "application/zstd",
        "application/json",
        "text/plain; charset=utf-8",
    ]


async def test_manifest_is_uploaded_last(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    directory.signature.write_text("untrusted comment: signature\n")
    await published(directory, at(fresh))
    puts = [request.path for request in fresh.requests() if request.method == "PUT" and request.path]
    assert list(dict.fromkeys(puts)) == [ARCHIVE, SIGNATURE, MANIFEST]


async def test_blocks_are_committed_in_order(large: VersionDirectory, fresh: Azurite) -> None:
    result = await published(large, at(fresh))
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest
    assert result.sent == large.parsed().archive.size > 4 * BLOCK_SIZE


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE * BLOCK_COUNT, BLOCK_SIZE * BLOCK_COUNT + 1, 4 << 40])
def test_block_size_grows_with_archive(size: int) -> None:
    assert -(-size // block_size(size)) <= BLOCK_COUNT
    assert block_size(size) >= BLOCK_SIZE
    assert block_size(size) % MIB == 0


# --- published versions never change ---


async def test_identical_upload_writes_nothing(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    writes = len([request for request in fresh.requests() if request.method == "PUT"])
    again = await published(directory, at(fresh))
    assert (again.fresh, again.sent) == (False, 0)
    assert len([request for request in fresh.requests() if request.method == "PUT"]) == writes


@pytest.mark.parametrize("replace_unfinished", [False, True])
async def test_published_version_is_never_replaced(tmp_path: Path, fresh: Azurite, *, replace_unfinished: bool) -> None:
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    other = pack(tmp_path / "other", FILES | {"more": b""})
    with pytest.raises(UsageError, match="a published version never changes"):
        await published(other, at(fresh), replace_unfinished=replace_unfinished)
    assert fresh.get(MANIFEST) == directory.document()
    assert fresh.get(ARCHIVE) == archive_of(directory).read_bytes()


async def test_changed_archive_of_published_version_is_reported(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    fresh.put(ARCHIVE, b"other bytes")
    with pytest.raises(UsageError, match="the published files were changed"):
        await published(directory, at(fresh), replace_unfinished=True)
    assert fresh.get(ARCHIVE) == b"other bytes"


async def test_deleted_archive_of_published_version_is_uploaded_again(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    fresh.delete(ARCHIVE)
    assert (await published(directory, at(fresh))).fresh is False
    assert fresh.get(ARCHIVE) == archive_of(directory).read_bytes()


async def test_signature_can_be_added_but_not_changed(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    directory.signature.write_text("one")
    await published(directory, at(fresh))
    assert fresh.get(SIGNATURE) == b"one"
    directory.signature.write_text("two")
    with pytest.raises(UsageError, match=r"manifest\.json\.minisig exists in"):
        await published(directory, at(fresh), replace_unfinished=True)
    assert fresh.get(SIGNATURE) == b"one"


async def test_unfinished_upload_is_replaced_on_request_only(tmp_path: Path, fresh: Azurite) -> None:
    """An unfinished upload may belong to a run that is still active."""
    directory = pack(tmp_path, FILES)
    directory.signature.write_text("new")
    fresh.put(ARCHIVE, b"left over")
    fresh.put(SIGNATURE, b"old")
    with pytest.raises(UsageError, match="--replace-unfinished"):
        await published(directory, at(fresh))
    assert fresh.keys() == [SIGNATURE, ARCHIVE]
    await published(directory, at(fresh), replace_unfinished=True)
    assert [fresh.get(key) for key in (ARCHIVE, SIGNATURE)] == [archive_of(directory).read_bytes(), b"new"]


async def test_concurrent_uploads_of_same_bytes_succeed(large: VersionDirectory, fresh: Azurite) -> None:
    results = await asyncio.gather(*(published(large, at(fresh)) for _ in range(3)))
    assert len(results) == 3
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest
    assert fresh.get(MANIFEST) == large.document()


async def test_one_of_two_concurrent_uploads_of_different_bytes_is_refused(tmp_path: Path, fresh: Azurite) -> None:
    directories = [pack(tmp_path / name, FILES | {"who": name.encode()}) for name in ("one", "other")]
    results = await asyncio.gather(
        *(published(directory, at(fresh)) for directory in directories), return_exceptions=True
    )
    refused_ones = [result for result in results if isinstance(result, UsageError)]
    assert len(refused_ones) == 1
    (winner,) = (directory for directory in directories if fresh.get(MANIFEST) == directory.document())
    assert fresh.get(ARCHIVE) == archive_of(winner).read_bytes()


async def test_service_enforces_condition_of_writes(fresh: Azurite) -> None:
    async with opened(at(fresh)) as container:
        await container.put("blob", b"one", "text/plain")
        with pytest.raises(ConflictError):
            await container.put("blob", b"two", "text/plain")
        with pytest.raises(ConflictError):
            await container.put("blob", b"two", "text/plain", replaced_etag='"0x0"')
        await container.stage("blob", "00001", b"two")
        with pytest.raises(ConflictError):
            await container.commit("blob", ["00001"], "sha256:…")
        document = await container.read("blob", 10)
        assert document
        assert document.data == b"one"
        await container.put("blob", b"two", "text/plain", replaced_etag=document.etag)
    assert fresh.get("blob") == b"two"


# --- resumption ---


class StoppingObserver(NullObserver):
    """Fails when the second block is uploaded."""

    def __init__(self) -> None:
        self._blocks = 0

    def advance(self, count: int, _pack: str = "") -> None:
        """Count blocks, and raise at the second."""
        self._blocks += 1
        if self._blocks == 2:
            raise UnavailableError(f"interrupted after {count} bytes")


async def test_interrupted_upload_is_resumed(large: VersionDirectory, fresh: Azurite) -> None:
    with pytest.raises(UnavailableError, match="interrupted"):
        await published(large, at(fresh), observer=StoppingObserver())
    assert fresh.keys() == []
    result = await published(large, at(fresh))
    assert result.found > BLOCK_SIZE  # two blocks at least, one of which may be the short last one
    assert result.sent + result.found == large.parsed().archive.size
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest


async def test_staged_blocks_of_another_archive_are_not_used(
    large: VersionDirectory, tmp_path: Path, fresh: Azurite
) -> None:
    other = pack(tmp_path, {"noise": _noise(4 * BLOCK_SIZE + 5)[::-1]}, level=1)
    with pytest.raises(UnavailableError):
        await published(other, at(fresh), observer=StoppingObserver())
    assert (await published(large, at(fresh))).found == 0
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest


@pytest.mark.parametrize(
    "change",
    [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:-1] + b"\1", lambda _: b""],
    ids=["shorter", "longer", "changed", "empty"],
)
async def test_archive_that_differs_from_manifest_is_not_published(
    tmp_path: Path, fresh: Azurite, change: Callable[[bytes], bytes]
) -> None:
    directory = pack(tmp_path, FILES)
    archive_of(directory).write_bytes(change(archive_of(directory).read_bytes()))
    with pytest.raises(WrongBytesError, match="is not the archive that its manifest describes"):
        await published(directory, at(fresh))
    assert fresh.keys() == []


async def test_invalid_manifest_is_not_published(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    directory.manifest.write_bytes(b"{}")
    with pytest.raises(ManifestError):
        await published(directory, at(fresh))
    assert [request[:3] for request in fresh.requests()] == [("PUT", "", 201)]


async def test_invalid_pack_prevents_all_uploads_and_progress_has_one_total(tmp_path: Path, fresh: Azurite) -> None:
    observer, packs = CountingObserver(), [pack(tmp_path, FILES, PackRef(name, "1")) for name in ("common", "nl-nl")]
    manifest = packs[1].document()
    packs[1].manifest.write_bytes(b"{}")
    async with opened(at(fresh)) as container:
        options = UploadOptions("realtime/", 4)
        with pytest.raises(ManifestError):
            await upload_packs(packs, container, options, observer)
        assert fresh.keys() == []
        packs[1].manifest.write_bytes(manifest)
        await upload_packs(packs, container, options, observer)
    sizes = [directory.parsed().archive.size for directory in packs]
    assert (observer.expected, observer.totals, observer.done) == (sum(sizes), 1, sum(sizes))


async def test_missing_archive_is_reported(tmp_path: Path, fresh: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    archive_of(directory).unlink()
    with pytest.raises(WrongBytesError, match=r"pack\.tar\.zst cannot be read: No such file"):
        await published(directory, at(fresh))


# --- errors of the service ---


@pytest.mark.parametrize(
    ("permissions", "message"),
    [
        ("rl", "has no permission to write (sp=rl; r and w are needed)"),
        ("w", "has no permission to read (sp=w)"),
        ("rc", "lacks a permission (sp=rc; r and w are needed)"),
    ],
)
async def test_missing_permission_of_token_is_reported(
    tmp_path: Path, fresh: Azurite, permissions: str, message: str
) -> None:
    with pytest.raises(AccessError) as caught:
        await published(pack(tmp_path, FILES), at(fresh, permissions))
    assert message in str(caught.value)


async def test_expired_token_is_reported_with_its_date(tmp_path: Path, fresh: Azurite) -> None:
    """The clock of the service determines the expiry."""
    with pytest.raises(AccessError, match=r"the SAS token expired at 20\d\d-.* UTC"):
        await published(pack(tmp_path, FILES), target(fresh.container_url, fresh.sas("rw", expires_in=-60)))


async def test_token_of_another_container_names_possible_causes(tmp_path: Path, fresh: Azurite) -> None:
    with pytest.raises(AccessError, match="made for another container or account, or was revoked"):
        await published(pack(tmp_path, FILES), target(fresh.container_url, fresh.fresh_container().sas("rw")))


async def test_missing_container_is_reported(tmp_path: Path, fresh: Azurite) -> None:
    missing = fresh.container_url + "missing"
    renamed = type(fresh)(**{**vars(fresh), "container": f"{fresh.container}missing"})
    with pytest.raises(NotFoundError, match=f"the container {missing} does not exist; check --url"):
        await published(pack(tmp_path, FILES), target(missing, renamed.sas("rw")))


async def test_unreachable_service_and_unknown_name_are_distinguished(tmp_path: Path) -> None:
    directory = pack(tmp_path, FILES)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await published(directory, target("http://127.0.0.1:1/models"))
    with pytest.raises(UnavailableError, match=r"the name of nowhere\.invalid cannot be resolved"):
        await published(directory, target("https://nowhere.invalid/models"))


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        (expired(), AccessError, "403 AuthenticationFailed"),
        (expired(), AccessError, "is not valid at this time"),
        (not_public(), AccessError, "409 PublicAccessNotPermitted"),
        (refused(403, "AuthorizationSourceIPMismatch"), AccessError, "is for another IP address"),
        (refused(400, "InvalidQueryParameterValue"), SourceError, "400 InvalidQueryParameterValue"),
        (refused(400, "InvalidBlobOrBlock"), SourceError, "they are removed after a week"),
        (throttled(times=FOREVER), UnavailableError, "503 ServerBusy: it is overloaded or down"),
        (redirect("http://127.0.0.1:1/elsewhere"), SourceError, "answered 307"),
        (Reset(times=FOREVER), UnavailableError, "closed the connection early"),
        (Cut(times=FOREVER), UnavailableError, "closed the connection early"),
        (Cut(at=3, times=FOREVER), UnavailableError, "closed the connection early"),
        (WholeObject(times=FOREVER), UnavailableError, "did not answer like a blob service"),
        (Raw(times=FOREVER), UnavailableError, "closed the connection early"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
async def test_service_fault_has_its_error_class_and_message(
    tmp_path: Path, fault: Fault, error: type[ModelsInitError], message: str
) -> None:
    """No exception of the SDK is raised, and the token is not in the message."""
    directory = pack(tmp_path, FILES)
    async with FaultyServer({MANIFEST: directory.document()}, [fault]) as server:
        with pytest.raises(ModelsInitError) as caught:
            await published(directory, target(server.url))
    assert type(caught.value) is error
    assert message in str(caught.value)
    assert "AAAA" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_retry_waits_for_retry_after(tmp_path: Path) -> None:
    """429 and 503 are retried, a permanent error is not."""
    directory = pack(tmp_path, FILES)
    clock = FakeClock()
    faults = [throttled(retry_after=77), throttled(429, retry_after=88), refused(400, "Final")]
    async with FaultyServer({}, faults) as server:
        with pytest.raises(SourceError, match="400 Final"):
            await published(directory, target(server.url, attempts=9, clock=clock))
        assert [seen.status for seen in server.seen] == [503, 429, 400]
    assert [wait >= least for wait, least in zip(clock.waits, [77, 88], strict=True)] == [True, True]


async def test_last_fault_is_raised_after_all_attempts(tmp_path: Path) -> None:
    async with FaultyServer({}, [throttled(times=FOREVER)]) as server:
        with pytest.raises(UnavailableError):
            await published(pack(tmp_path, FILES), target(server.url, attempts=3))
        assert len(server.seen) == 3


async def test_untrusted_certificate_is_not_retried(tmp_path: Path, azurite_tls: Azurite) -> None:
    directory = pack(tmp_path, FILES)
    fresh = azurite_tls.fresh_container()
    clock = FakeClock()
    with pytest.raises(SourceError, match=r"the certificate of .* is not trusted; name your CA's file"):
        await published(directory, target(fresh.container_url, fresh.sas("rw"), attempts=9, clock=clock))
    assert clock.waits == []
    authority = str(fresh.certificate_authority)
    assert (await published(directory, target(fresh.container_url, fresh.sas("rw"), ca_file=authority))).fresh


async def test_ca_file_in_der_is_accepted(tmp_path: Path, azurite_tls: Azurite, certificates: Certificates) -> None:
    fresh, authority = azurite_tls.fresh_container(), tmp_path / "ca.der"
    authority.write_bytes(ssl.PEM_cert_to_DER_cert(certificates.authority.read_text()))
    there = target(fresh.container_url, fresh.sas("rw"), ca_file=str(authority))
    assert (await published(pack(tmp_path, FILES), there)).fresh


async def test_missing_ca_file_is_reported_before_any_request(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"MODELS_CA_FILE=/missing cannot be read"):
        await published(pack(tmp_path, FILES), target("https://nowhere.invalid/models", ca_file="/missing"))


async def test_container_url_has_no_token(fresh: Azurite) -> None:
    async with opened(at(fresh)) as container:
        assert isinstance(container, Container)
        assert container.url == fresh.container_url
