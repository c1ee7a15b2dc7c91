"""Data on the volume is used only after it has been verified, so that damaged data does not change the result."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle import volume_oracle
from tests.lifecycle.corruptions import CORRUPTIONS
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
    name
    for name, corruption in CORRUPTIONS.items()
    if not corruption.leaves and _KINDS.isdisjoint(kind for _, kind in corruption.named)
]


@pytest.mark.parametrize("name", _OF_FILES)
def test_upgrade_from_damaged_version_is_correct(name: str, site: LifecycleSite) -> None:
    site.install(OLD, NEW)
    CORRUPTIONS[name].do(site.volume)
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
def test_damaged_staging_is_corrected(spoil: Callable[[Path], object], site: LifecycleSite, pool: Pool) -> None:
    pool.do(_leave_half, site.volume, site.samples)
    (model,) = site.volume.glob("staging/nl-nl/1@*/am/final.mdl")
    spoil(model)
    site.done(wanted=OLD)
    assert site.active == OLD


def _leave_half(volume: Path, samples: SamplePacks) -> None:
    SCENARIOS["install again after a kill"].prepare(volume, samples)


def test_modes_do_not_depend_on_umask_or_setgid(site: LifecycleSite) -> None:
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


def test_mode_bits_added_by_kubernetes_are_not_damage(site: LifecycleSite) -> None:
    """Kubernetes adds group rights to all files at each start of a pod with an fsGroup."""
    site.install(OLD)
    for path in site.volume.rglob("*"):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o2770 if path.is_dir() else 0o660))
    assert site.run("--verify", wanted=OLD).code == 0
    assert site.done("--json").json["bytes_reused"] > 0
    one, other = (site.volume / f"packs/nl-nl/{version}/graph/HCLG.fst" for version in (1, 2))
    assert one.samefile(other)


def test_file_system_without_fallocate_is_written_once(site: LifecycleSite) -> None:
    """Zeros written instead could overwrite the data of a concurrent run."""
    trace = site.volume.parent / "trace"
    command = ["-f", "-o", str(trace), "-e", "trace=pwrite64,fallocate", "-e", "inject=fallocate:error=EOPNOTSUPP"]
    environment = {**os.environ, **site.samples.environment(site.volume, *sorted(NEW))}
    run = [require_tool("strace"), *command, sys.executable, "-m", "models_init"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert site.active == NEW
    written = [line for line in trace.read_text().splitlines() if '"\\0", 1,' in line]
    assert written == []


def test_missing_hard_links_are_reported_and_files_are_copied(site: LifecycleSite) -> None:
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
