"""What lies on the volume is a guess until it was hashed and measured: where it is spoiled, the result is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle import volume_oracle
from tests.lifecycle.corruptions import HARMS
from tests.lifecycle.sample_packs import TWO, tree_of
from tests.lifecycle.scenarios import NEW, NEXT, OLD, SCENARIOS
from tests.services import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.site import LifecycleSite

_KINDS = {"record", "link", "manifest"}
_OF_FILES = [
    name for name, harm in HARMS.items() if not harm.leaves and _KINDS.isdisjoint(kind for _, kind in harm.named)
]


@pytest.mark.parametrize("name", _OF_FILES)
def test_an_upgrade_from_a_damaged_version_is_right(name: str, site: LifecycleSite) -> None:
    """Whatever has befallen the version that chunks and files are taken from, the new one is what was published."""
    site.install(OLD, NEW)
    HARMS[name].do(site.volume)
    site.done(wanted=NEXT)
    assert volume_oracle.active(site.volume, site.samples) == NEXT


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"?")


def _turn_into_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _turn_into_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


def _turn_into_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _flip(path: Path) -> None:
    data = path.read_bytes() or bytes(1)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


@pytest.mark.parametrize(
    "spoil",
    [
        _append,
        _flip,
        _turn_into_directory,
        _turn_into_link,
        _turn_into_pipe,
        lambda path: path.chmod(0o600),
        lambda path: path.chmod(0o4755),
        lambda path: os.truncate(path, 10),
        lambda path: path.with_name("mine").write_bytes(b"?"),
        lambda path: path.parent.chmod(0o700),
        lambda path: path.parents[1].chmod(0o700),
        lambda path: shutil.rmtree(path.parent),
    ],
)
def test_a_spoiled_staging_is_made_right(spoil: Callable[[Path], object], site: LifecycleSite, pool: Pool) -> None:
    """Whatever has befallen what an earlier run left in staging, what is published is what ought to be."""
    pool.do(_leave_half, site.volume, site.samples)
    (model,) = site.volume.glob("staging/nl-nl/1@*/am/final.mdl")
    spoil(model)
    site.done(wanted=OLD)
    assert site.active == OLD


def _leave_half(volume: Path, samples: SamplePacks) -> None:
    SCENARIOS["install again after a kill"].prepare(volume, samples)


def test_modes_are_set_whatever_the_volume_says(site: LifecycleSite) -> None:
    """A directory whose group is inherited, and an odd umask: directories and executables are 0755, files 0644."""
    site.volume.mkdir(mode=0o755)
    site.volume.chmod(0o2775)
    before = os.umask(0o077)
    try:
        site.install(OLD)
    finally:
        os.umask(before)
    modes = {entry[1] & ~0o2000 for entry in tree_of(site.volume / "packs").values()}
    assert modes == {0o755, 0o644}
    assert site.run("--verify", wanted=OLD).code == 0


def test_what_kubernetes_does_to_modes_is_no_damage(site: LifecycleSite) -> None:
    """A pod with an fsGroup adds group rights to all of the volume at each start; files are linked nevertheless."""
    site.install(OLD)
    for path in site.volume.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))
    assert site.run("--verify", wanted=OLD).code == 0
    assert site.done("--json").json["bytes_reused"] > 0
    one, other = (site.volume / f"packs/nl-nl/{version}/graph/HCLG.fst" for version in (1, 2))
    assert one.samefile(other)


def test_a_file_system_without_preallocation_is_written_once(site: LifecycleSite) -> None:
    """Where fallocate(2) is not supported, room is not made with zeros, which could fall on another run's bytes."""
    trace = site.volume.parent / "trace"
    command = ["-f", "-o", str(trace), "-e", "trace=pwrite64,fallocate", "-e", "inject=fallocate:error=EOPNOTSUPP"]
    environment = {**os.environ, **site.samples.environment(site.volume, *sorted(NEW))}
    run = [require_tool("strace"), *command, sys.executable, "-m", "models_init"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert site.active == NEW
    written = [line for line in trace.read_text().splitlines() if '"\\0", 1,' in line]
    assert written == []


def test_without_hard_links_that_is_told_and_planned(site: LifecycleSite) -> None:
    """A volume that refuses hard links is told at the start, with what to do; unchanged files are copied."""
    site.install(OLD)
    environment = {**os.environ, **site.samples.environment(site.volume, *sorted(NEW))}
    inject = ["-f", "-o", os.devnull, "-e", "trace=link,linkat", "-e", "inject=link,linkat:error=EPERM"]
    run = [require_tool("strace"), *inject, sys.executable, "-m", "models_init"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "refuses hard links" in done.stderr
    assert site.active == NEW
    assert all((site.volume / "packs/nl-nl/2" / path).stat().st_nlink == 1 for path in _files(site))


def _files(site: LifecycleSite) -> list[str]:
    return [file.path for file in site.samples.manifest(TWO).files]
