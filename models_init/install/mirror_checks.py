"""Check whether mirrors respond and have the archives. A failure is a warning, because there are other sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import ModelsInitError, NotFoundError
from models_init.runtime.workers import each
from models_init.sources.mirror_errors import mirror_error_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.formats.manifest import Resolved
    from models_init.install.check_report import CheckReport
    from models_init.sources.probe import EndpointProbe
    from models_init.sources.source import Source


class CheckedMirror(NamedTuple):
    """A mirror that is checked, and the probe of its server."""

    source: Source
    probe: EndpointProbe


class CheckedSources(NamedTuple):
    """The sources of an install: the probe of the origin (None if the origin is unknown) and the mirrors.

    If manifests are signed, the mirrors can replace the origin.
    """

    probe: EndpointProbe | None
    mirrors: Sequence[CheckedMirror]
    is_signed: bool

    @property
    def may_replace_origin(self) -> bool:
        """True if the mirrors may have everything that the origin has."""
        return self.is_signed and bool(self.mirrors)


async def check_mirrors(mirrors: Sequence[CheckedMirror], packs: Sequence[Resolved], found: CheckReport) -> None:
    """Report on each mirror; `packs` are the packs to fetch whose manifests are known."""
    outcomes = await each(lambda mirror: _check(mirror, packs), mirrors)
    for number, (mirror, (is_good, text)) in enumerate(zip(mirrors, outcomes, strict=True), 1):
        report = found.ok if is_good else found.warn
        report("mirror" if len(mirrors) == 1 else f"mirror {number}", f"{mirror.source.name}: {text}")


async def _check(mirror: CheckedMirror, packs: Sequence[Resolved]) -> tuple[bool, str]:
    """Return whether the mirror can be used for all packs, and a description."""
    try:
        way = (await mirror.probe.ping()).way
        lacking = [str(pack.manifest.ref) for pack in packs if not await _has(mirror.source, pack)]
    except ModelsInitError as error:
        return False, f"{mirror_error_text(error)}; an install would continue without this mirror"
    finally:
        await mirror.source.close()
    if lacking:
        return False, f"lacks {', '.join(lacking)}, which would be fetched from the next source"
    has = f"has {', '.join(str(pack.manifest.ref) for pack in packs)}" if packs else ""
    return True, ", ".join(filter(None, ["reached", way, has]))


async def _has(source: Source, pack: Resolved) -> bool:
    """Return True if the mirror has the archive in its full size. Raises the errors of the source."""
    key, size = pack.manifest.archive_key, pack.manifest.archive.size
    try:
        if size:
            await source.get_range(key, size - 1, size, _OneByte())
    except NotFoundError:
        return False
    return True


class _OneByte:
    """A sink for a single byte, which is dropped."""

    def get_buffer(self) -> memoryview:
        """See `Sink.get_buffer`."""
        return memoryview(bytearray(1))

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
