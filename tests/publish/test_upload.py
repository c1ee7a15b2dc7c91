"""What publishing brings into a container, what it never changes, how it goes on after a fault."""

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
from models_init.publish.upload.upload import BLOCK_COUNT, BLOCK_SIZE, UploadOptions, UploadResult, block_size, upload
from models_init.sources.wrappers.retry import RetryPolicy
from tests.clock import FakeClock
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
    return UploadTarget(url, token, RetryPolicy(attempts=attempts, sleep=clock.sleep, clock=clock), ca_file)


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
        way = UploadOptions("realtime/", 4, replace_unfinished)
        return await upload(directory, container, way, observer or NullObserver())


@pytest.fixture
def fresh(azurite: Azurite) -> Azurite:
    return azurite.fresh_container()


@pytest.fixture
def large(tmp_path: Path) -> VersionDirectory:
    """A pack of five blocks that nothing can compress."""
    return pack(tmp_path / "large", {"noise": _noise(4 * BLOCK_SIZE + 5)}, level=1)


def _noise(size: int) -> bytes:
    return random.Random(3).randbytes(size)


# --- what is there afterwards ---


async def test_a_pack_is_published_whole(tmp_path: Path, fresh: Azurite) -> None:
    """Archive and manifest stand in the container byte for byte, below the prefix, under name and version."""
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


async def test_blobs_say_what_they_are(tmp_path: Path, fresh: Azurite) -> None:
    """Content types are set, and the archive bears its digest as metadata."""
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


async def test_the_manifest_comes_last(tmp_path: Path, fresh: Azurite) -> None:
    """Nobody can see a manifest whose archive or signature is not there yet."""
    directory = pack(tmp_path, FILES)
    directory.signature.write_text("untrusted comment: signature\n")
    await published(directory, at(fresh))
    puts = [request.path for request in fresh.requests() if request.method == "PUT" and request.path]
    assert list(dict.fromkeys(puts)) == [ARCHIVE, SIGNATURE, MANIFEST]


async def test_many_blocks_make_one_archive(large: VersionDirectory, fresh: Azurite) -> None:
    """An archive of several blocks arrives in order, however the blocks overtake each other."""
    result = await published(large, at(fresh))
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest
    assert result.sent == large.parsed().archive.size > 4 * BLOCK_SIZE


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE * BLOCK_COUNT, BLOCK_SIZE * BLOCK_COUNT + 1, 4 << 40])
def test_no_archive_has_too_many_blocks(size: int) -> None:
    """Blocks grow with the archive: at most 50,000 of them, of at least 8 MiB, of whole MiB."""
    assert -(-size // block_size(size)) <= BLOCK_COUNT
    assert block_size(size) >= BLOCK_SIZE
    assert block_size(size) % MIB == 0


# --- what is published never changes ---


async def test_publishing_again_changes_nothing(tmp_path: Path, fresh: Azurite) -> None:
    """The same bytes again: nothing is written, and it is told as already published."""
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    writes = len([request for request in fresh.requests() if request.method == "PUT"])
    again = await published(directory, at(fresh))
    assert (again.fresh, again.sent) == (False, 0)
    assert len([request for request in fresh.requests() if request.method == "PUT"]) == writes


@pytest.mark.parametrize("replace_unfinished", [False, True])
async def test_a_published_version_is_never_replaced(
    tmp_path: Path, fresh: Azurite, *, replace_unfinished: bool
) -> None:
    """Other bytes under a published name and version are refused, whatever flag is given."""
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    other = pack(tmp_path / "other", FILES | {"more": b""})
    with pytest.raises(UsageError, match="a published version never changes"):
        await published(other, at(fresh), replace_unfinished=replace_unfinished)
    assert fresh.get(MANIFEST) == directory.document()
    assert fresh.get(ARCHIVE) == archive_of(directory).read_bytes()


async def test_a_changed_archive_of_a_published_version_is_told(tmp_path: Path, fresh: Azurite) -> None:
    """Where somebody replaced a published archive, nothing is replaced silently again."""
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    fresh.put(ARCHIVE, b"other bytes")
    with pytest.raises(UsageError, match="somebody changed what is published"):
        await published(directory, at(fresh), replace_unfinished=True)
    assert fresh.get(ARCHIVE) == b"other bytes"


async def test_a_lost_archive_of_a_published_version_is_brought_back(tmp_path: Path, fresh: Azurite) -> None:
    """The manifest vouches for the bytes, so publishing again heals a version whose archive is gone."""
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    fresh.delete(ARCHIVE)
    assert (await published(directory, at(fresh))).fresh is False
    assert fresh.get(ARCHIVE) == archive_of(directory).read_bytes()


async def test_a_signature_can_be_added_later_but_not_changed(tmp_path: Path, fresh: Azurite) -> None:
    """A published version may get its signature afterwards; another signature is refused."""
    directory = pack(tmp_path, FILES)
    await published(directory, at(fresh))
    directory.signature.write_text("one")
    await published(directory, at(fresh))
    assert fresh.get(SIGNATURE) == b"one"
    directory.signature.write_text("two")
    with pytest.raises(UsageError, match=r"manifest\.json\.minisig stands in"):
        await published(directory, at(fresh), replace_unfinished=True)
    assert fresh.get(SIGNATURE) == b"one"


async def test_an_unfinished_upload_of_other_bytes_is_replaced_on_request_only(tmp_path: Path, fresh: Azurite) -> None:
    """An archive whose manifest never came may belong to a run under way: only the flag replaces it."""
    directory = pack(tmp_path, FILES)
    directory.signature.write_text("new")
    fresh.put(ARCHIVE, b"left over")
    fresh.put(SIGNATURE, b"old")
    with pytest.raises(UsageError, match="--replace-unfinished"):
        await published(directory, at(fresh))
    assert fresh.keys() == [SIGNATURE, ARCHIVE]
    await published(directory, at(fresh), replace_unfinished=True)
    assert [fresh.get(key) for key in (ARCHIVE, SIGNATURE)] == [archive_of(directory).read_bytes(), b"new"]


async def test_two_who_publish_the_same_at_once_both_succeed(large: VersionDirectory, fresh: Azurite) -> None:
    """Runs side by side do not disturb each other."""
    results = await asyncio.gather(*(published(large, at(fresh)) for _ in range(3)))
    assert len(results) == 3
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest
    assert fresh.get(MANIFEST) == large.document()


async def test_of_two_who_publish_different_bytes_at_once_one_is_refused(tmp_path: Path, fresh: Azurite) -> None:
    """Whoever wins, what is published afterwards agrees with itself."""
    directories = [pack(tmp_path / name, FILES | {"who": name.encode()}) for name in ("one", "other")]
    results = await asyncio.gather(
        *(published(directory, at(fresh)) for directory in directories), return_exceptions=True
    )
    refused_ones = [result for result in results if isinstance(result, UsageError)]
    assert len(refused_ones) == 1
    (winner,) = (directory for directory in directories if fresh.get(MANIFEST) == directory.document())
    assert fresh.get(ARCHIVE) == archive_of(winner).read_bytes()


async def test_a_write_without_its_condition_fails(fresh: Azurite) -> None:
    """The service itself refuses to write where something stands, or where something else stands."""
    async with opened(at(fresh)) as container:
        await container.put("blob", b"one", "text/plain")
        with pytest.raises(ConflictError):
            await container.put("blob", b"two", "text/plain")
        with pytest.raises(ConflictError):
            await container.put("blob", b"two", "text/plain", over='"0x0"')
        await container.stage("blob", "00001", b"two")
        with pytest.raises(ConflictError):
            await container.commit("blob", ["00001"], "sha256:…")
        document = await container.read("blob", 10)
        assert document
        assert document.data == b"one"
        await container.put("blob", b"two", "text/plain", over=document.etag)
    assert fresh.get("blob") == b"two"


# --- after a fault ---


class BreakingOff(NullObserver):
    """Ends the run when the second block is there."""

    def __init__(self) -> None:
        self._blocks = 0

    def advance(self, count: int) -> None:
        """Count blocks."""
        self._blocks += 1
        if self._blocks == 2:
            raise UnavailableError(f"broken off after {count} bytes")


async def test_an_upload_that_was_broken_off_goes_on(large: VersionDirectory, fresh: Azurite) -> None:
    """Blocks that are there are not sent again, and nothing was to be seen before."""
    with pytest.raises(UnavailableError, match="broken off"):
        await published(large, at(fresh), observer=BreakingOff())
    assert fresh.keys() == []
    result = await published(large, at(fresh))
    assert result.found > BLOCK_SIZE  # two blocks at least, one of which may be the short last one
    assert result.sent + result.found == large.parsed().archive.size
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest


async def test_blocks_of_another_archive_are_not_taken(large: VersionDirectory, tmp_path: Path, fresh: Azurite) -> None:
    """What was staged for other bytes of the same version is of no use, and does no harm."""
    other = pack(tmp_path, {"noise": _noise(4 * BLOCK_SIZE + 5)[::-1]}, level=1)
    with pytest.raises(UnavailableError):
        await published(other, at(fresh), observer=BreakingOff())
    assert (await published(large, at(fresh))).found == 0
    assert sha256(fresh.get(ARCHIVE)) == large.parsed().archive.digest


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-1], lambda data: data + b"\0", lambda data: data[:-1] + b"\1", lambda _: b""],
    ids=["shorter", "longer", "changed", "empty"],
)
async def test_an_archive_unlike_its_manifest_is_not_published(
    tmp_path: Path, fresh: Azurite, spoil: Callable[[bytes], bytes]
) -> None:
    """Wrong bytes never become visible in the container."""
    directory = pack(tmp_path, FILES)
    archive_of(directory).write_bytes(spoil(archive_of(directory).read_bytes()))
    with pytest.raises(WrongBytesError, match="is not the archive that its manifest describes"):
        await published(directory, at(fresh))
    assert fresh.keys() == []


async def test_a_broken_manifest_is_not_published(tmp_path: Path, fresh: Azurite) -> None:
    """A manifest that no site could read does not get as far as a request."""
    directory = pack(tmp_path, FILES)
    directory.manifest.write_bytes(b"{}")
    with pytest.raises(ManifestError):
        await published(directory, at(fresh))
    assert fresh.requests() == [("PUT", "", 201)]


async def test_a_missing_archive_is_told(tmp_path: Path, fresh: Azurite) -> None:
    """A manifest alone is not published."""
    directory = pack(tmp_path, FILES)
    archive_of(directory).unlink()
    with pytest.raises(WrongBytesError, match=r"pack\.tar\.zst cannot be read: No such file"):
        await published(directory, at(fresh))


# --- how faults of the service are told ---


@pytest.mark.parametrize(
    ("permissions", "told"),
    [
        ("rl", "has no permission to write (sp=rl; r and w are needed)"),
        ("w", "has no permission to read (sp=w)"),
        ("rc", "lacks a permission (sp=rc; r and w are needed)"),
    ],
)
async def test_a_token_without_a_permission_is_told(
    tmp_path: Path, fresh: Azurite, permissions: str, told: str
) -> None:
    """Which permissions it has and which are needed."""
    with pytest.raises(AccessError) as caught:
        await published(pack(tmp_path, FILES), at(fresh, permissions))
    assert told in str(caught.value)


async def test_an_expired_token_is_told_with_its_date(tmp_path: Path, fresh: Azurite) -> None:
    """By the service's clock, not by this machine's."""
    with pytest.raises(AccessError, match=r"the SAS token expired at 20\d\d-.* UTC"):
        await published(pack(tmp_path, FILES), target(fresh.container_url, fresh.sas("rw", expires_in=-60)))


async def test_a_token_of_another_container_is_told(tmp_path: Path, fresh: Azurite) -> None:
    """What cannot be known is not claimed: all causes that are left are named."""
    with pytest.raises(AccessError, match="made for another container or account, or was revoked"):
        await published(pack(tmp_path, FILES), target(fresh.container_url, fresh.fresh_container().sas("rw")))


async def test_a_missing_container_is_told(tmp_path: Path, fresh: Azurite) -> None:
    """It is the container that lacks, not the pack."""
    missing = fresh.container_url + "missing"
    renamed = type(fresh)(**{**vars(fresh), "container": f"{fresh.container}missing"})
    with pytest.raises(NotFoundError, match=f"the container {missing} does not exist; check --url"):
        await published(pack(tmp_path, FILES), target(missing, renamed.sas("rw")))


async def test_a_service_that_is_not_there_is_told(tmp_path: Path) -> None:
    """A refused connection and an unknown name are told apart."""
    directory = pack(tmp_path, FILES)
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await published(directory, target("http://127.0.0.1:1/models"))
    with pytest.raises(UnavailableError, match=r"the name of nowhere\.invalid cannot be resolved"):
        await published(directory, target("https://nowhere.invalid/models"))


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        (expired(), AccessError, "403 AuthenticationFailed"),
        (expired(), AccessError, "is not valid at this time"),
        (not_public(), AccessError, "409 PublicAccessNotPermitted"),
        (refused(403, "AuthorizationSourceIPMismatch"), AccessError, "is for another IP address"),
        (refused(400, "InvalidQueryParameterValue"), SourceError, "400 InvalidQueryParameterValue"),
        (refused(400, "InvalidBlobOrBlock"), SourceError, "they vanish after a week"),
        (throttled(times=FOREVER), UnavailableError, "503 ServerBusy: it is overloaded or down"),
        (redirect("http://127.0.0.1:1/elsewhere"), SourceError, "answered 307"),
        (Reset(times=FOREVER), UnavailableError, "broke off the connection"),
        (Cut(times=FOREVER), UnavailableError, "broke off the connection"),
        (Cut(at=3, times=FOREVER), UnavailableError, "broke off the connection"),
        (WholeObject(times=FOREVER), UnavailableError, "answered unlike a blob service"),
        (Raw(times=FOREVER), UnavailableError, "broke off the connection"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or str(value)[:30],
)
async def test_each_fault_of_the_service_has_its_class_and_its_words(
    tmp_path: Path, fault: Fault, error: type[ModelsInitError], told: str
) -> None:
    """No exception of the SDK comes through, and no token."""
    directory = pack(tmp_path, FILES)
    async with FaultyServer({MANIFEST: directory.document()}, [fault]) as server:
        with pytest.raises(ModelsInitError) as caught:
            await published(directory, target(server.url))
    assert type(caught.value) is error
    assert told in str(caught.value)
    assert "AAAA" not in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_a_busy_service_is_asked_again_when_it_wants_to(tmp_path: Path) -> None:
    """503 and 429 are repeated after Retry-After at the earliest; what is final is not."""
    directory = pack(tmp_path, FILES)
    clock = FakeClock()
    faults = [throttled(retry_after=77), throttled(429, retry_after=88), refused(400, "Final")]
    async with FaultyServer({}, faults) as server:
        with pytest.raises(SourceError, match="400 Final"):
            await published(directory, target(server.url, attempts=9, clock=clock))
        assert [seen.status for seen in server.seen] == [503, 429, 400]
    assert [wait >= least for wait, least in zip(clock.waits, [77, 88], strict=True)] == [True, True]


async def test_patience_ends(tmp_path: Path) -> None:
    """After so many attempts the last fault is told."""
    async with FaultyServer({}, [throttled(times=FOREVER)]) as server:
        with pytest.raises(UnavailableError):
            await published(pack(tmp_path, FILES), target(server.url, attempts=3))
        assert len(server.seen) == 3


async def test_a_certificate_that_nobody_vouches_for_is_final(tmp_path: Path, azurite_tls: Azurite) -> None:
    """It is told at once, without any further attempt; with the authority's file it works."""
    directory = pack(tmp_path, FILES)
    fresh = azurite_tls.fresh_container()
    clock = FakeClock()
    with pytest.raises(SourceError, match=r"the certificate of .* is not trusted; name your CA's file"):
        await published(directory, target(fresh.container_url, fresh.sas("rw"), attempts=9, clock=clock))
    assert clock.waits == []
    authority = str(fresh.certificate_authority)
    assert (await published(directory, target(fresh.container_url, fresh.sas("rw"), ca_file=authority))).fresh


async def test_a_ca_file_may_be_in_der(tmp_path: Path, azurite_tls: Azurite, certificates: Certificates) -> None:
    """What a site accepts as MODELS_CA_FILE, an upload accepts, too."""
    fresh, authority = azurite_tls.fresh_container(), tmp_path / "ca.der"
    authority.write_bytes(ssl.PEM_cert_to_DER_cert(certificates.authority.read_text()))
    there = target(fresh.container_url, fresh.sas("rw"), ca_file=str(authority))
    assert (await published(pack(tmp_path, FILES), there)).fresh


async def test_a_ca_file_that_is_none_is_told(tmp_path: Path) -> None:
    """Before any request."""
    with pytest.raises(UsageError, match=r"MODELS_CA_FILE=/missing cannot be read"):
        await published(pack(tmp_path, FILES), target("https://nowhere.invalid/models", ca_file="/missing"))


async def test_the_containers_url_is_shown_without_the_token(fresh: Azurite) -> None:
    """What goes into reports cannot leak."""
    async with opened(at(fresh)) as container:
        assert isinstance(container, Container)
        assert container.url == fresh.container_url
