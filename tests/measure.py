"""Measure memory, disk, time and traffic of an install of packs of realistic size, and print the figures.

    python -m tests.measure [DIRECTORY]

Runs `/usr/bin/time -v python -m models_init` against Azurite. Both share the cores of this machine, so the seconds are
not those of a site.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from models_init.core.units import human_size
from models_init.fs.files import disk_usage
from tests import big
from tests.services import azurite
from tests.site import Packs, Site

_BETWEEN = 0.1  # seconds between two measurements


@dataclass
class Peak:
    """The maximum disk usage of a volume, measured repeatedly while the block runs."""

    volume: Path
    size: int = 0

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(_BETWEEN):
            self.size = max(self.size, disk_usage(self.volume)[0])


def main() -> None:
    """Measure in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="measure-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as directory:
        packs = big.build(Path(directory, "vendor"))
        with azurite.serve(azurite.install()) as service:
            big.publish(packs, service)
            _measure(Site(Path(directory, "models"), big.environment(service.container_url, service.sas("rl"))), packs)


def _measure(site: Site, packs: Packs) -> None:
    with Peak(site.volume) as peak:
        done = site.run("--json", through=["/usr/bin/time", "-v"])
    if done.code:
        raise SystemExit(f"the install failed with {done.code}:\n{done.err}")
    result = json.loads(done.out)
    manifests = [packs.manifest(ref) for ref in packs.trees]
    extracted = sum(manifest.size for manifest in manifests)
    archives = sum(manifest.archive.size for manifest in manifests)
    files = sum(len(manifest.files) for manifest in manifests)
    user, system = (_figure(done.err, f"{kind} time (seconds)") for kind in ("User", "System"))
    final = disk_usage(site.volume)[0]
    rows = {
        "packs": f"{len(manifests)}, {files} files, {human_size(extracted)}",
        "peak RSS": human_size(1024 * _figure(done.err, "Maximum resident set size (kbytes)")),
        "disk, at most": f"{human_size(peak.size)}, {peak.size / extracted - 1:+.1%} of the extracted size",
        "disk, at the end": f"{human_size(final)}, {final / extracted - 1:+.1%} of the extracted size",
        "bytes fetched": f"{human_size(result['bytes_fetched'])} of archives of {human_size(archives)}",
        "seconds": f"{result['seconds']:.1f}",
        "CPU seconds": f"{user} user, {system} system",
        "retries": result["retries"],
    }
    sys.stdout.writelines(f"{name:<17} {value}\n" for name, value in rows.items())


def _figure(output: str, name: str) -> float:
    match = re.search(rf"{re.escape(name)}: ([0-9.]+)", output)
    if not match:
        raise SystemExit(f"/usr/bin/time does not report {name!r}; GNU time is needed:\n{output}")
    return float(match[1])


if __name__ == "__main__":
    main()
