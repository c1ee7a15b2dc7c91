"""What an install works with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models_init.fs.page_cache import BoundedPageCache, PageCachePolicy
from models_init.transfer.context import Context
from models_init.volume.staging import Staging

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.formats.manifest import Resolved
    from models_init.install.trust import SignaturePolicy
    from models_init.transfer.fetcher import Fetcher
    from models_init.transfer.plan import Plan
    from models_init.volume.layout import Volume

_RECORD = 512
"""Bytes that a chunk's record takes in memory, about: the manifest of 100,000 small files leaves less for buffers."""

_LEAST_MEMORY = 16 << 20
"""Bytes for buffers that are used whatever the manifests take, if the settings allow as many."""


@dataclass(frozen=True, slots=True)
class InstallContext(Context):
    """What an install works with: a context with the volume and the signature policy."""

    volume: Volume
    trust: SignaturePolicy
    pages: PageCachePolicy = field(default_factory=BoundedPageCache.of_this_machine)
    _stagings: dict[Path, Staging] = field(default_factory=dict)

    def staging(self, pack: Resolved) -> Staging:
        """The folder in which the pack grows: the same object each time, for it knows what was looked at."""
        path = self.volume.staging_path(pack.manifest.ref, pack.digest)
        if path not in self._stagings:
            self._stagings[path] = Staging(path, pack.manifest, self.pages)
        return self._stagings[path]

    def fetcher_for(self, plan: Plan) -> Fetcher:
        """Return a fetcher for all packs of the plan; what their manifests take is not used for buffers."""
        memory = max(min(self.memory, _LEAST_MEMORY), self.memory - plan.chunks * _RECORD)
        return self.fetcher(plan.largest_batch, memory)
