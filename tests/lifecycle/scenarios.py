"""Scenarios in which the program is stopped: volume at the start, action, releases that may be current."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.fork_server import KILLED, Program
from tests.lifecycle.sample_packs import COMMON, ONE, PLAIN, THREE, TWO, tree_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from tests.lifecycle.fork_server import RunResult
    from tests.lifecycle.sample_packs import SamplePacks, Tree
    from tests.lifecycle.syscalls import Before

OLD, NEW, NEXT = frozenset({COMMON, ONE}), frozenset({COMMON, TWO}), frozenset({COMMON, THREE})
UNPACKED = frozenset({COMMON, PLAIN})
LONG_AGO = 1_700_000_000
GOAL = "the release of the goal"


@dataclass(frozen=True)
class Scenario:
    """`prepare` creates the volume at the start; `goal` is current at the end, and `before` until then."""

    name: str
    prepare: Callable[[Path, SamplePacks], None]
    wanted: frozenset[PackRef]
    before: frozenset[PackRef] | None
    goal: frozenset[PackRef]
    arguments: tuple[str, ...] = ()
    damaged: bool = False
    leaves_staging: bool = False  # for --prune, because the run that recovers does not examine it

    def program(self, volume: Path, samples: SamplePacks) -> Program:
        """Return the program with the environment of the scenario."""
        return Program(samples.environment(volume, *sorted(self.wanted)))

    def run(self, volume: Path, samples: SamplePacks) -> RunResult:
        """Run the action without stopping it."""
        return self.program(volume, samples).run(*self.options(volume))

    def followed(self, volume: Path, samples: SamplePacks, before: Before) -> RunResult:
        """Run the action, calling `before` before each change of the volume."""
        return self.program(volume, samples).followed(str(volume), before, *self.options(volume))

    def options(self, volume: Path) -> list[str]:
        """Return the command-line arguments."""
        return [volume_oracle.release_of(volume, self.goal) if part == GOAL else part for part in self.arguments]

    def assert_promise(self, volume: Path, samples: SamplePacks, start: Path) -> None:
        """Check the guarantee at any moment: `current` is absent or complete, and so is every public name."""
        if self.damaged:
            assert_not_worse(volume, samples, start)
            return
        active = self.active(volume, samples)
        assert active in (self.before, self.goal), f"{active} is current"
        volume_oracle.assert_public_is_complete(volume, samples)

    def active(self, volume: Path, samples: SamplePacks) -> frozenset[PackRef] | None:
        """Return the packs of the current release; of a damaged one, those of its record."""
        return volume_oracle.recorded_active(volume) if self.damaged else volume_oracle.active(volume, samples)

    def assert_converged(self, volume: Path, samples: SamplePacks) -> None:
        """Check the volume after the next run."""
        active = volume_oracle.active(volume, samples)
        assert active == self.goal, f"{active} is current"
        volume_oracle.assert_public_is_complete(volume, samples)


def assert_not_worse(volume: Path, samples: SamplePacks, start: Path) -> None:
    """Check that every entry is correct or as it was at the start."""
    for ref in {*volume_oracle.public_packs(start), *volume_oracle.public_packs(volume)}:
        path = f"packs/{ref.name}/{ref.version}"
        if not (start / path).exists():
            volume_oracle.assert_pack_is_complete(volume, ref, samples)
            continue
        _compare(tree_of(volume / path), tree_of(start / path), samples.trees[ref], path)
    for release in volume_oracle.releases(start):
        path = f"releases/{release}"
        before = tree_of(start / path)
        links = {name: ("link", 0, f"../../packs/{name}/{version}") for name, version in _versions(start, release)}
        _compare(tree_of(volume / path), before, before | links, path)
    leads = os.readlink(volume / "current")
    assert leads == os.readlink(start / "current"), f"current leads to {leads}"


def _compare(found: Tree, before: Tree, right: Tree, where: str) -> None:
    for path in before.keys() | right.keys() | found.keys():
        entry = found.get(path)
        assert entry in (before.get(path), right.get(path)), f"{where}/{path} is {entry}"


def _versions(volume: Path, release: str) -> list[tuple[str, str]]:
    record = json.loads((volume / "releases" / release / "release.json").read_bytes())
    return [(name, described["version"]) for name, described in record["packs"].items()]


def copy_volume(start: Path, volume: Path) -> Path:
    """Copy a volume with hard links and times."""
    shutil.rmtree(volume, ignore_errors=True)
    if start.exists():
        subprocess.run(["cp", "-a", start, volume], check=True)
    return volume


# -- preparation of volumes


def install(volume: Path, samples: SamplePacks, wanted: frozenset[PackRef]) -> str:
    """Install a set; return the release's id."""
    done = Program(samples.environment(volume, *sorted(wanted))).run("--json")
    assert done.code == 0, str(done)
    return str(done.json["release"])


def _act(volume: Path, samples: SamplePacks, *arguments: str) -> None:
    done = Program(samples.environment(volume, *sorted(NEW))).run(*arguments)
    assert done.code == 0, str(done)


def _empty(volume: Path, samples: SamplePacks) -> None:
    del volume, samples


def _half(volume: Path, samples: SamplePacks) -> None:
    """Kill an install before it writes the fourth chunk."""
    chunks = iter(range(1, 100))
    stopped = Program(samples.environment(volume, *sorted(OLD))).followed(
        str(volume), lambda call: call.name != "pwrite64" or "@" not in call.paths[0] or next(chunks) < 4
    )
    assert stopped.code == KILLED, str(stopped)


def _old(volume: Path, samples: SamplePacks) -> None:
    install(volume, samples, OLD)


def _upgraded(volume: Path, samples: SamplePacks) -> None:
    install(volume, samples, OLD)
    install(volume, samples, NEW)


def _rolled_back(volume: Path, samples: SamplePacks) -> None:
    _upgraded(volume, samples)
    _act(volume, samples, "--rollback")


def _full_of_things(volume: Path, samples: SamplePacks) -> None:
    """Three releases, unneeded staging, an unused pack and manifest, and old leftovers."""
    _upgraded(volume, samples)
    install(volume, samples, NEXT)
    (volume / "staging/en-us/7@0123456789ab/am").mkdir(parents=True)
    (volume / "staging/en-us/7@0123456789ab/am/final.mdl").write_bytes(b"half")
    (volume / "staging/en-us/7@0123456789ab.json").write_bytes(b"{}")
    (volume / "staging/.trash-0123/am").mkdir(parents=True)
    (volume / "staging/.trash-0123/am/final.mdl").write_bytes(b"gone")
    (volume / "staging/.file-4567").write_bytes(b"gone")
    for name in (".trash-0123", ".file-4567"):
        os.utime(volume / "staging" / name, (LONG_AGO, LONG_AGO))


def _damaged(volume: Path, samples: SamplePacks) -> None:
    """Each kind of damage that a repair fixes."""
    _upgraded(volume, samples)
    pack = volume / "packs/nl-nl/2"
    with (pack / "graph/HCLG.fst").open("r+b") as file:  # shared with the previous version
        file.write(b"?")
    os.truncate(pack / "am/final.mdl", 5000)
    (pack / "bin/decode").unlink()
    (pack / "conf/extra").write_bytes(b"mine")
    (pack / "conf/new.conf").chmod(0o600)
    (pack / "spare").rmdir()
    (volume / "manifests/common/1.json").unlink()
    (volume / "current/nl-nl").unlink()
    (volume / "current/nl-nl").symlink_to("../../packs/nl-nl/1")


def _without_pack(volume: Path, samples: SamplePacks) -> None:
    _upgraded(volume, samples)
    shutil.rmtree(volume / "packs/common/1")


def _unpacked_and_damaged(volume: Path, samples: SamplePacks) -> None:
    """Each kind of damage to a pack from an opaque archive, except to its manifest."""
    install(volume, samples, UNPACKED)
    pack = volume / "packs/nl-nl/4"
    os.truncate(pack / "am/final.mdl", 5000)
    (pack / "bin/decode").unlink()
    (pack / "conf/extra").write_bytes(b"mine")
    (pack / "conf/new.conf").chmod(0o600)


def _with_an_empty_directory(volume: Path, samples: SamplePacks) -> None:
    """An empty directory in place of a pack, which kubelet creates for a mount by subPath."""
    _upgraded(volume, samples)
    shutil.rmtree(volume / "packs/nl-nl/2")
    (volume / "packs/nl-nl/2").mkdir()


def _without_manifest(volume: Path, samples: SamplePacks) -> None:
    _upgraded(volume, samples)
    (volume / "manifests/nl-nl/2.json").unlink()


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("install", _empty, OLD, None, OLD),
        Scenario("install again after a kill", _half, OLD, None, OLD),
        Scenario("upgrade", _old, NEW, OLD, NEW),
        Scenario("stage", _old, NEW, OLD, OLD, ("--stage",)),
        Scenario("install a plain archive", _empty, UNPACKED, None, UNPACKED),
        Scenario("roll back", _upgraded, NEW, NEW, OLD, ("--rollback",)),
        Scenario("activate", _rolled_back, NEW, OLD, NEW, ("--activate", GOAL)),
        Scenario("upgrade after a rollback", _rolled_back, NEXT, OLD, NEXT),
        Scenario("prune", _full_of_things, NEXT, NEXT, NEXT, ("--prune",)),
        Scenario("repair", _damaged, NEW, NEW, NEW, ("--repair",), damaged=True),
        Scenario(
            "repair a plain archive",
            _unpacked_and_damaged,
            UNPACKED,
            UNPACKED,
            UNPACKED,
            ("--repair",),
            damaged=True,
        ),
        Scenario("repair where a pack is gone", _without_pack, NEW, NEW, NEW, ("--repair",), damaged=True),
        Scenario("install where a pack is gone", _without_pack, NEW, NEW, NEW, (), damaged=True),
        Scenario("install over an empty directory", _with_an_empty_directory, NEW, NEW, NEW, (), damaged=True),
        Scenario(
            "install where a manifest is gone", _without_manifest, NEW, NEW, NEW, (), damaged=True, leaves_staging=True
        ),
    )
}
