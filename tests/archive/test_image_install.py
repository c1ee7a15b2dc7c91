"""Fetch an ordinary image in parts of its layers, unpack it while they arrive, and fetch wrong layers again."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from models_init.archive import spool
from models_init.archive.unpack import ArchiveInstall
from models_init.core.digests import digest_of
from models_init.core.errors import ArchiveError, WrongBytesError
from models_init.formats.manifest import Archive, Manifest, OpaqueArchive, Resolved, encode
from models_init.fs.page_cache import NoPageCachePolicy
from models_init.runtime.workers import Workers
from models_init.transfer.concurrency import ConnectionLimiter
from models_init.transfer.fetcher import Buffers, Fetcher
from models_init.transfer.plan import SPARE, PackSurvey, make_plan
from models_init.transfer.ranges import BATCH_SIZE
from models_init.volume.layout import Volume
from tests.archive.images import described, layer, link, regular
from tests.publish.packs import REF
from tests.recorder import Recorder
from tests.sources.fake import FOREVER, FakeSource, Flipped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models_init.sources.source import Sink

PART = 64 << 10
_KEY = "nl-nl/2026.04/image.layers"
_CHANCE = random.Random("image")
_LOWER = layer(regular("models/nl-nl/lower", _CHANCE.randbytes(3 * PART)))
_UPPER = layer(regular("models/nl-nl/upper", _CHANCE.randbytes(2 * PART)))


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPAN_SIZE", PART)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def _published(layers: Sequence[bytes]) -> Resolved:
    image, stream = described(layers)
    archive = Archive("image.layers", len(stream), digest_of(b"image"))
    manifest = Manifest(1, *REF, archive, (), plain=OpaqueArchive(image=image))
    return Resolved(manifest, digest_of(encode(manifest)))


async def _install(source: FakeSource, layers: Sequence[bytes], workers: Workers, directory: Path) -> Resolved:
    volume = Volume(directory / "models")
    volume.prepare()
    fetcher = Fetcher(source, workers, Recorder(), ConnectionLimiter(1), Buffers(2, BATCH_SIZE))
    return await ArchiveInstall(volume, NoPageCachePolicy(), _published(layers)).fetch_and_unpack(fetcher)


async def test_parts_end_with_their_layer(workers: Workers, tmp_path: Path) -> None:
    source = FakeSource({_KEY: _LOWER + _UPPER})
    found = await _install(source, [_LOWER, _UPPER], workers, tmp_path)
    assert [file.path for file in found.manifest.files] == ["lower", "upper"]
    expected = [(start, min(start + PART, len(_LOWER))) for start in range(0, len(_LOWER), PART)]
    total = len(_LOWER) + len(_UPPER)
    expected += [(start, min(start + PART, total)) for start in range(len(_LOWER), total, PART)]
    assert source.ranges() == expected


async def test_only_a_wrong_layer_is_fetched_again(workers: Workers, tmp_path: Path) -> None:
    source = FakeSource({_KEY: _LOWER + _UPPER}, Flipped(at=len(_LOWER) + 1000, after=4))
    await _install(source, [_LOWER, _UPPER], workers, tmp_path)
    assert source.ranges()[7:] == source.ranges()[4:7]
    assert source.uncached == [_KEY]


async def test_layer_that_stays_wrong_is_named_and_others_are_kept(workers: Workers, tmp_path: Path) -> None:
    source = FakeSource({_KEY: _LOWER + _UPPER}, Flipped(at=len(_LOWER) + 1000, times=FOREVER))
    with pytest.raises(WrongBytesError, match=rf"SHA-256 of layer 2 of 2 \({digest_of(_UPPER)}\) is wrong, also after"):
        await _install(source, [_LOWER, _UPPER], workers, tmp_path)
    source = FakeSource({_KEY: _LOWER + _UPPER})
    await _install(source, [_LOWER, _UPPER], workers, tmp_path)
    assert min(source.ranges())[0] == len(_LOWER)


class _GatedSource(FakeSource):
    """A source that never sends the last part."""

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """Wait forever if this is the last part."""
        if stop == len(self.objects[key]):
            await asyncio.Event().wait()
        await super().get_range(key, start, stop, sink)


async def test_fetch_ends_when_a_layer_cannot_be_used(workers: Workers, tmp_path: Path) -> None:
    hostile = layer(link("models/nl-nl/d", "/etc"), regular("models/nl-nl/d/passwd"))
    with pytest.raises(ArchiveError, match=r"the image cannot be used: layer 1 of 2 .* is below 'models/nl-nl/d'"):
        await _install(_GatedSource({_KEY: hostile + _UPPER}), [hostile, _UPPER], workers, tmp_path)


def test_planned_space_includes_layers_and_files_but_no_installed_layer() -> None:
    published = _published([_LOWER, _UPPER])
    size = published.manifest.archive.size
    fresh = make_plan([PackSurvey(published, installed=False)])
    assert (fresh.fetch_bytes, fresh.disk_bytes, fresh.needed_bytes) == (size, 2 * size, 2 * size + SPARE)
    reused = make_plan([PackSurvey(published, installed=False, installed_bytes=len(_LOWER))])
    assert (reused.fetch_bytes, reused.disk_bytes) == (len(_UPPER), 2 * size - len(_LOWER))
    survey = PackSurvey(published, installed=False, installed_bytes=len(_LOWER), linked_bytes=len(_LOWER))
    assert make_plan([survey]).disk_bytes == 2 * len(_UPPER)
