"""A volume in a lower layer of overlayfs, as in an image: its directories cannot be renamed (EXDEV)."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle import volume_oracle
from tests.lifecycle.file_systems import overlay
from tests.lifecycle.loop_devices import tmpfs
from tests.lifecycle.overlay_stops import OverlayStops, stop_at_each_change
from tests.lifecycle.sample_packs import COMMON, TWO
from tests.lifecycle.scenarios import NEW, OLD
from tests.lifecycle.site import LifecycleSite
from tests.lifecycle.summary import report_at_end
from tests.lifecycle.syscalls import require_tracing
from tests.services import require_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks

NOT_WRITABLE = 43


@pytest.fixture(autouse=True)
def _mounting() -> None:
    require_root()


@pytest.fixture
def upgraded(memory: Path, samples: SamplePacks, pool: Pool) -> Iterator[LifecycleSite]:
    """Create a site with OLD and NEW in the lower layer."""
    lower = LifecycleSite(memory / "lower/models", samples, pool)
    lower.volume.parent.mkdir()
    lower.install(OLD, NEW)
    with overlay(memory / "lower", memory / "layers") as top:
        yield LifecycleSite(top / "models", samples, pool)


def test_directory_of_lower_layer_cannot_be_renamed(upgraded: LifecycleSite) -> None:
    """The tests below depend on this."""
    with pytest.raises(OSError, match="Invalid cross-device link"):
        (upgraded.volume / "packs/nl-nl/1").rename(upgraded.volume / "staging/x")


@pytest.mark.parametrize("name", ["prune", "install again after a kill", "install where a manifest is gone"])
def test_kill_before_each_change_is_survived(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    require_tracing()
    lines = pool.do(stop_at_each_change, OverlayStops(name, samples, memory / "overlay"))
    report_at_end(f"overlayfs, {name}: {len(lines) - 1} stopping points")
    assert [line for line in lines if ": " in line] == []
    assert len(lines) > 20


def test_prune_removes_directories_of_lower_layer(upgraded: LifecycleSite) -> None:
    upgraded.offline("--prune", "--keep", "0")
    assert volume_oracle.public_packs(upgraded.volume) == [COMMON, TWO]
    assert upgraded.active == NEW
    assert upgraded.offline("--prune", "--keep", "0", "--json").json["bytes_freed"] == 0


def test_repair_removes_unexpected_directory_of_lower_layer(memory: Path, samples: SamplePacks, pool: Pool) -> None:
    lower = LifecycleSite(memory / "lower/models", samples, pool)
    lower.volume.parent.mkdir()
    lower.install(NEW)
    (lower.volume / "packs/nl-nl/2/mine/deep").mkdir(parents=True)
    shutil.rmtree(lower.volume / "packs/common/1")
    with overlay(memory / "lower", memory / "layers") as top:
        site = LifecycleSite(top / "models", samples, pool)
        site.done("--repair")
        site.done("--verify")
        assert site.active == NEW


def test_copied_current_of_lower_layer_is_reported_with_command(memory: Path, samples: SamplePacks, pool: Pool) -> None:
    """The directory cannot be exchanged with the link, and removing it in place would leave an incomplete `current`."""
    lower = LifecycleSite(memory / "lower/models", samples, pool)
    lower.volume.parent.mkdir()
    lower.install(NEW)
    current = lower.volume / "current"
    content = current.resolve()
    current.unlink()
    shutil.copytree(content, current)
    with overlay(memory / "lower", memory / "layers") as top:
        site = LifecycleSite(top / "models", samples, pool)
        refused = site.run()
        assert refused.code == NOT_WRITABLE
        command = f"rm -r {site.volume}/current"
        assert command in refused.err
        assert os.system(command) == 0
        site.offline()
        assert site.active == NEW


def test_second_file_system_below_volume_is_refused(memory: Path, samples: SamplePacks, pool: Pool) -> None:
    site = LifecycleSite(memory / "models", samples, pool)
    site.volume.mkdir()
    with tmpfs(site.volume / "packs", "size=1m"):
        refused = site.run()
    assert refused.code == NOT_WRITABLE
    assert f"{site.volume}/packs cannot be renamed" in refused.err
    assert "MODELS_DIR must be one file system" in refused.err
