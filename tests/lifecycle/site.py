"""A volume, the sample packs and the fork server, as most tests of this directory need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.fork_server import Pool, Program, RunResult
from tests.lifecycle.scenarios import NEW

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from tests.lifecycle.sample_packs import SamplePacks

NOWHERE = "https://models.invalid/none"
"""A source that cannot be reached."""


@dataclass(frozen=True)
class LifecycleSite:
    """An operator's machine."""

    volume: Path
    samples: SamplePacks
    pool: Pool

    def run(
        self, *arguments: str, wanted: frozenset[PackRef] = NEW, broken_locks: bool = False, **variables: str
    ) -> RunResult:
        """Run the program in an environment that names these packs."""
        environment = self.samples.environment(self.volume, *sorted(wanted), **variables)
        return self.pool.do(_run, Program(environment, one_cpu=False, broken_locks=broken_locks), arguments)

    def done(
        self, *arguments: str, wanted: frozenset[PackRef] = NEW, broken_locks: bool = False, **variables: str
    ) -> RunResult:
        """Run the program; it must exit with 0."""
        outcome = self.run(*arguments, wanted=wanted, broken_locks=broken_locks, **variables)
        assert outcome.code == 0, outcome
        return outcome

    def offline(self, *arguments: str, wanted: frozenset[PackRef] = NEW) -> RunResult:
        """Run the program without a reachable source; it must exit with 0."""
        return self.done(*arguments, wanted=wanted, MODELS_URL=NOWHERE)

    def install(self, *sets: frozenset[PackRef]) -> None:
        """Install one set after the other."""
        for wanted in sets:
            self.done(wanted=wanted)

    @property
    def active(self) -> frozenset[PackRef] | None:
        """Return the packs of the current release; check that it and all public names are complete."""
        volume_oracle.assert_public_is_complete(self.volume, self.samples)
        return volume_oracle.active(self.volume, self.samples)

    def release(self, refs: frozenset[PackRef]) -> str:
        """Return the id of the release of these packs."""
        return volume_oracle.release_of(self.volume, refs)


def _run(program: Program, arguments: tuple[str, ...]) -> RunResult:
    return program.run(*arguments)
