"""A rollout to the previous set: nothing is transferred, and engines of other languages keep what they have mounted."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests import samples
from tests.kubernetes.kubelet import in_container
from tests.kubernetes.pods import Pod, names_of, node_volume
from tests.site import COMMON, DUTCH, NEWER, build_packs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.site import Packs

ENGLISH = PackRef("en-us", "2026.04")


@pytest.fixture(scope="module")
def two_languages(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build small packs of two languages, one of them in two versions."""
    directory = tmp_path_factory.mktemp("two-languages")
    shape = samples.Shape(texts=3, weights=(200_000,), dense=())
    trees = {ref: samples.write_tree(directory / str(ref), shape, str(ref)) for ref in (COMMON, DUTCH, ENGLISH)}
    trees[NEWER] = samples.write_tree(directory / str(NEWER), shape, "another")
    return build_packs(directory, trees, level=1)


@pytest.fixture
def pod(tmp_path: Path, two_languages: Packs) -> Pod:
    return Pod(node_volume(tmp_path / "models"), two_languages, variables={"REALTIME_LANGUAGES": "nl-nl,en-us@2026.04"})


@contextmanager
def engine(pod: Pod, *packs: PackRef) -> Iterator[Callable[[], str]]:
    """Run an engine with these packs mounted by subPath; yield a function that returns what it sees of them.

    That is: each mount with its source, and each file with its inode and checksum.
    """
    look = "while read go; do grep ' /mnt/current/' /proc/self/mountinfo; cd /mnt/current; "
    look += "find . -type f | sort | xargs stat -c '%n %i %s'; find . -type f | sort | xargs cksum; echo end; done"
    command = [*in_container(*map(pod.sub_path, packs)), "sh", "-c", look]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        requests, answers = process.stdin, process.stdout
        assert requests
        assert answers

        def seen() -> str:
            print("go", file=requests, flush=True)
            return "".join(iter(answers.readline, "end\n"))

        try:
            yield seen
        finally:
            requests.close()


@pytest.mark.parametrize("action", [("--stage",), ()], ids=["stage", "install"])
def test_rollback_transfers_nothing_and_does_not_affect_other_engines(pod: Pod, action: tuple[str, ...]) -> None:
    """The rollback runs in a network namespace without interfaces and without a token, also after a prune."""
    assert pod.run(*action).code == 0
    with engine(pod, ENGLISH, COMMON) as english, engine(pod, DUTCH, COMMON) as dutch:
        before, dutch_before = english(), dutch()
        assert before.count("/mnt/current/") == 2
        upgrade = pod.but(version=NEWER.version)
        assert upgrade.run(*action).code == 0
        assert upgrade.run("--prune").code == 0
        rollback = pod.but(offline=True).run(*action, "--json")
        assert rollback.code == 0, rollback
        assert (rollback.json["bytes_fetched"], rollback.json["bytes_written"], rollback.json["retries"]) == (0, 0, 0)
        assert pod.but(offline=True).run("--wait", "0").code == 0
        assert (english(), dutch()) == (before, dutch_before)
        with engine(pod, DUTCH, COMMON) as restarted:
            assert _files(restarted()) == _files(dutch_before)


def test_upgrade_and_prune_of_one_language_keep_the_leased_packs_of_another_pod(pod: Pod) -> None:
    """The sidecar of a pod of the old set holds its packs, although two newer sets have been staged since."""
    assert pod.run("--stage").code == 0
    with engine(pod, DUTCH, COMMON) as old, pod.but(read_only=True, offline=True).started("--hold") as sidecar:
        assert sidecar.stderr
        assert "holding" in sidecar.stderr.readline()
        before = old()
        newer = pod.but(version=NEWER.version, variables={"REALTIME_LANGUAGES": "nl-nl"})
        assert newer.run().code == 0
        (pod.volume / "releases/.history").write_text("")  # so that only the lease keeps the packs
        assert newer.run("--prune", "--keep", "0").code == 0
        assert old() == before
        assert names_of(pod.volume / "packs") == ["common", "en-us", "nl-nl"]
    assert newer.run("--prune", "--keep", "0").code == 0
    assert names_of(pod.volume / "packs") == ["common", "nl-nl"]
    assert names_of(pod.volume / "packs/nl-nl") == ["2026.07"]


def _files(seen: str) -> list[str]:
    return [line for line in seen.splitlines() if "/mnt/current/" not in line]
