"""A volume, tiny packs, and the program warm: what most tests here need."""

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
"""A source that cannot be asked for anything, least of all without a token."""


@dataclass(frozen=True)
class LifecycleSite:
    """An operator's machine."""

    volume: Path
    samples: SamplePacks
    pool: Pool

    def run(
        self, *arguments: str, wanted: frozenset[PackRef] = NEW, lying_locks: bool = False, **variables: str
    ) -> RunResult:
        """Run the program to its end, in an environment that names these packs."""
        environment = self.samples.environment(self.volume, *sorted(wanted), **variables)
        return self.pool.do(_run, Program(environment, one_cpu=False, lying_locks=lying_locks), arguments)

    def done(
        self, *arguments: str, wanted: frozenset[PackRef] = NEW, lying_locks: bool = False, **variables: str
    ) -> RunResult:
        """Run it; it ends well."""
        outcome = self.run(*arguments, wanted=wanted, lying_locks=lying_locks, **variables)
        assert outcome.code == 0, outcome
        return outcome

    def offline(self, *arguments: str, wanted: frozenset[PackRef] = NEW) -> RunResult:
        """Run it without a source; it ends well."""
        return self.done(*arguments, wanted=wanted, MODELS_URL=NOWHERE)

    def install(self, *sets: frozenset[PackRef]) -> None:
        """Install one set after the other."""
        for wanted in sets:
            self.done(wanted=wanted)

    @property
    def active(self) -> frozenset[PackRef] | None:
        """What is current, whole; and nothing public is half."""
        volume_oracle.assert_public_is_whole(self.volume, self.samples)
        return volume_oracle.active(self.volume, self.samples)

    def release(self, refs: frozenset[PackRef]) -> str:
        """The id of the release of these packs."""
        return volume_oracle.release_of(self.volume, refs)


def _run(program: Program, arguments: tuple[str, ...]) -> RunResult:
    return program.run(*arguments)
