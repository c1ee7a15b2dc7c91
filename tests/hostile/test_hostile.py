"""Whatever a publisher, a container or a neighbour on the volume makes up is refused, and nothing else is harmed."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
from itertools import product
from typing import TYPE_CHECKING

import pytest

from tests.hostile.case import COMMON, FILES, PACK, VERSION, HostileCase, HostileSetup
from tests.hostile.cases import CONTROL, TABLE, directory_name
from tests.hostile.driver import MeasuredRun
from tests.services import require_root, require_tool
from tests.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_FAULT = "models-init: error: "
_LIES = [case for case in TABLE if case.code]
_HARMLESS = [case for case in TABLE if not case.code]
_WATCHED = "%file,fchmod,fchown,fsetxattr,fallocate,ftruncate"  # on a read-only mount no descriptor can be written
_IS_ROOT = os.geteuid() == 0
_EXAMPLES = (
    *(
        "a path out of the pack",
        "a path that clears the screen",
        "a file that is a link",
        "two hundred thousand chunks",
    ),
    *("ten million brackets", "cut after 5 tenths", "a manifest without end", "an archive that nobody writes"),
    *("a gibibyte in a frame that denies it", "two frames for one chunk", "staging is a link", "the lock is a link"),
    *("a directory in staging is a link", "a file in staging has a second name elsewhere"),
)


class Outcomes:
    """What came of the cases, all run by one process."""

    def __init__(self, root: Path, cases: Iterable[HostileCase], installed: Path) -> None:
        self._root = root
        self._cases = list(cases)
        self._before: dict[str, dict[str, str]] = {}
        self._answers: dict[str, MeasuredRun] = {}
        self.refused = ""
        for case in self._cases:
            setup = self.setup(case)
            lay(case, setup, installed)
            self._before[case.name] = snapshot(setup.outside)

    def setup(self, case: HostileCase) -> HostileSetup:
        """Where it happened."""
        return HostileSetup(self._root / directory_name(case))

    def run(self) -> None:
        """Run them; as root with everything read-only that is not the volume, which is traced."""
        command = [sys.executable, "-m", "tests.hostile.driver", str(self._root)]
        trace = self._root.parent / "trace"
        if _IS_ROOT:
            tracing = [require_tool("strace"), "-f", "-qq", "-Z", "-o", str(trace), "-e", f"trace={_WATCHED}"]
            command = [*tracing, "--seccomp-bpf", *command, "--sealed"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=_quiet())
        assert done.returncode == 0, done.stderr
        self._answers = {name: MeasuredRun(*answer) for name, answer in json.loads(done.stdout).items()}
        self.refused = "\n".join(re.findall(r"^.*\bEROFS\b.*$", trace.read_text(), re.MULTILINE)) if _IS_ROOT else ""

    def answer(self, case: HostileCase) -> MeasuredRun:
        """How the program answered."""
        if case.inodes and not _IS_ROOT:
            require_root()
        return self._answers[directory_name(case)]

    def message(self, case: HostileCase) -> str:
        """The one line that tells what failed."""
        (line,) = self.answer(case).err.splitlines()[-1:]
        return line.removeprefix(_FAULT)

    def harmed(self, case: HostileCase) -> list[str]:
        """What became different outside the volume."""
        before, after = self._before[case.name], snapshot(self.setup(case).outside)
        return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def lay(case: HostileCase, setup: HostileSetup, installed: Path) -> None:
    """Make the setup of a case."""
    setup.lay()
    if case.installed:
        subprocess.run(["cp", "-a", f"{installed}/.", setup.volume], check=True)
    case.prepare(setup)


def snapshot(directory: Path) -> dict[str, str]:
    """Everything below the directory: types, modes, times, bytes."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        times = f"{status.st_mtime_ns}" if content else ""  # a second name changes ctime alone
        found[str(path.relative_to(directory))] = f"{stat.filemode(status.st_mode)} {times} {content}"
    return found


def _quiet() -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "HOME": "/"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume with the honest packs."""
    setup = HostileSetup(tmp_path_factory.mktemp("installed"))
    setup.lay()
    done = Site(setup.volume, setup.environment).run()
    assert done.code == 0, done.err
    return setup.volume


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Outcomes:
    """All cases, run once."""
    cases = [case for case in TABLE if not case.inodes or _IS_ROOT]
    found = Outcomes(tmp_path_factory.mktemp("hostile") / "grounds", cases, installed)
    found.run()
    return found


@pytest.mark.parametrize("case", _LIES, ids=str)
def test_a_lie_is_refused(case: HostileCase, outcomes: Outcomes) -> None:
    """One line says in its own words what is wrong; the exit code is that of its class; nothing of it is published."""
    answer = outcomes.answer(case)
    assert answer.code == case.code, answer.err
    assert case.words in outcomes.message(case)
    assert answer.err.count(_FAULT) == 1
    assert "Traceback" not in answer.err
    assert all(line.isprintable() for line in answer.err.splitlines())
    assert answer.out == ""
    assert case.installed or published(outcomes.setup(case)) == []


@pytest.mark.parametrize("case", _HARMLESS, ids=str)
def test_what_is_odd_does_no_harm(case: HostileCase, outcomes: Outcomes) -> None:
    """What is no lie is done, and a link that was in the way is not any more."""
    answer = outcomes.answer(case)
    assert answer.code == 0, answer.err
    if not case.arguments or case.installed:
        tree_is_right(outcomes.setup(case))


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_nothing_outside_changes(case: HostileCase, outcomes: Outcomes) -> None:
    """Somebody else's files have the bytes, modes and times that they had."""
    outcomes.answer(case)
    assert outcomes.harmed(case) == []


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_nothing_takes_more_memory_than_it_may(case: HostileCase, outcomes: Outcomes) -> None:
    """However much is promised, the program takes memory for what it allows."""
    assert outcomes.answer(case).memory <= case.memory


def test_every_fault_has_its_own_words(outcomes: Outcomes) -> None:
    """No message says what is said of another fault."""
    told = [(case.words, outcomes.message(case)) for case in _LIES if not case.inodes or _IS_ROOT]
    confused = [
        (words, message)
        for (words, _), (others, message) in product(told, told)
        if words in message and others not in words and words not in others
    ]
    assert confused == []


def test_nothing_is_even_attempted_outside_the_volume(outcomes: Outcomes) -> None:
    """With all but the volume mounted read-only, the kernel has no write to refuse."""
    require_root()
    assert outcomes.refused == ""


def test_an_attempt_would_be_seen(tmp_path: Path, installed: Path) -> None:
    """A write that goes elsewhere, where the operator wants it, shows in the trace that the test above reads."""
    require_root()
    control = Outcomes(tmp_path / "grounds", [CONTROL], installed)
    control.run()
    assert control.answer(CONTROL).code == CONTROL.code
    assert f"{control.setup(CONTROL).outside}/log" in control.refused


@pytest.mark.parametrize("case", [case for case in TABLE if case.name in _EXAMPLES], ids=str)
def test_the_program_answers_the_same(case: HostileCase, tmp_path: Path, outcomes: Outcomes, installed: Path) -> None:
    """Run as a site runs it, in a process of its own, the program says the same."""
    setup = HostileSetup(tmp_path)
    lay(case, setup, installed)
    done = Site(setup.volume, case.environment(setup)).run(*case.arguments)
    assert done.code == outcomes.answer(case).code, done.err
    assert not case.code or done.fault == outcomes.message(case).replace(str(outcomes.setup(case).root), str(tmp_path))


def test_there_are_enough_of_them() -> None:
    """The examples exist; the table is as long as it was promised to be."""
    assert {case.name for case in TABLE} >= set(_EXAMPLES)
    assert len(_LIES) >= 100


def published(setup: HostileSetup) -> list[str]:
    """What of the pack that lies has a public name, and what of anything is neither file nor directory."""
    volume = setup.volume
    public = [volume / "current", volume / "packs" / PACK / VERSION, volume / "manifests" / PACK / f"{VERSION}.json"]
    return [str(path) for path in public if os.path.lexists(path) and not behind_a_link(path, volume)]


def behind_a_link(path: Path, volume: Path) -> bool:
    """Tell whether the way to it leads out of the volume."""
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(volume))


def tree_is_right(setup: HostileSetup) -> None:
    """What is current holds regular files and directories alone, and the model has its bytes."""
    for pack in (PACK, COMMON):
        tree = (setup.volume / "current" / pack).resolve()
        assert tree == setup.volume / "packs" / pack / VERSION
        kinds = {stat.S_IFMT(path.lstat().st_mode) for path in [tree, *tree.rglob("*")]}
        assert kinds == {stat.S_IFREG, stat.S_IFDIR}
    model = setup.volume / "current" / PACK / "am/final.mdl"
    manifest = json.loads((setup.volume / "manifests" / PACK / f"{VERSION}.json").read_bytes())
    if "am/final.mdl" in {file["path"] for file in manifest["files"]}:
        assert model.read_bytes() == b"".join(FILES["am/final.mdl"])
        assert model.stat().st_nlink == 1
