"""Hold the objects that an install needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models_init.fs.page_cache import BoundedPageCache, PageCachePolicy
from models_init.transfer.context import Context
from models_init.volume.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models_init.formats.manifest import Resolved
    from models_init.install.trust import SignaturePolicy
    from models_init.transfer.fetcher import Fetcher
    from models_init.transfer.plan import Plan
    from models_init.volume.layout import Volume

_RECORD = 512
"""Approximate memory in bytes of one chunk's record: a manifest of 100,000 small files leaves less for buffers."""

_LEAST_MEMORY = 16 << 20
"""Bytes used for buffers even if the manifests are large, unless the settings allow fewer."""


@dataclass(frozen=True, slots=True)
class InstallContext(Context):
    """A transfer context with the volume and the signature policy.

    `bytes_by_source` counts the bytes of archives that have arrived, by the name of their source.
    """

    volume: Volume
    trust: SignaturePolicy
    bytes_by_source: Mapping[str, int]
    pages: PageCachePolicy = field(default_factory=BoundedPageCache.of_this_machine)
    _stagings: dict[Path, Staging] = field(default_factory=dict)

    @property
    def mirrors(self) -> list[str]:
        """Return the names of the mirrors, in their order."""
        return [name for name in self.bytes_by_source if name != self.source.name]

    def staging(self, pack: Resolved) -> Staging:
        """Return the pack's staging directory; the same object each time, because it keeps state."""
        path = self.volume.staging_path(pack.manifest.ref, pack.digest)
        if path not in self._stagings:
            self._stagings[path] = Staging(path, pack.manifest, self.pages, self.volume.keeps_modes)
        return self._stagings[path]

    def fetcher_for(self, plan: Plan) -> Fetcher:
        """Return a fetcher for all packs of the plan; memory taken by manifests is not used for buffers."""
        memory = max(min(self.memory, _LEAST_MEMORY), self.memory - plan.chunks * _RECORD)
        return self.fetcher(plan.largest_batch, memory)
