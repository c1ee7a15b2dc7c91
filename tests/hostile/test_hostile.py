"""Hostile manifests, archives and volumes are rejected, and nothing outside the volume changes."""

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
_REJECTED = [case for case in TABLE if case.code]
_HARMLESS = [case for case in TABLE if not case.code]
_WATCHED = "%file,fchmod,fchown,fsetxattr,fallocate,ftruncate"  # a read-only mount has no writable descriptors
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
    """The results of the cases, which one process runs."""

    def __init__(self, root: Path, cases: Iterable[HostileCase], installed: Path) -> None:
        self._root = root
        self._cases = list(cases)
        self._before: dict[str, dict[str, str]] = {}
        self._answers: dict[str, MeasuredRun] = {}
        self.refused = ""
        for case in self._cases:
            setup = self.setup(case)
            prepare(case, setup, installed)
            self._before[case.name] = snapshot(setup.outside)

    def setup(self, case: HostileCase) -> HostileSetup:
        """Return the setup of a case."""
        return HostileSetup(self._root / directory_name(case))

    def run(self) -> None:
        """Run all cases; as root with everything but the volume mounted read-only, and traced."""
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
        """Return the run of a case."""
        if case.inodes and not _IS_ROOT:
            require_root()
        return self._answers[directory_name(case)]

    def message(self, case: HostileCase) -> str:
        """Return the error message."""
        (line,) = self.answer(case).err.splitlines()[-1:]
        return line.removeprefix(_FAULT)

    def changed_outside(self, case: HostileCase) -> list[str]:
        """Return the paths outside the volume that changed."""
        before, after = self._before[case.name], snapshot(self.setup(case).outside)
        return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def prepare(case: HostileCase, setup: HostileSetup, installed: Path) -> None:
    """Create the setup of a case."""
    setup.create()
    if case.installed:
        subprocess.run(["cp", "-a", f"{installed}/.", setup.volume], check=True)
    case.prepare(setup)


def snapshot(directory: Path) -> dict[str, str]:
    """Return type, mode, time and digest of everything below the directory."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(status.st_mode) else ""
        times = f"{status.st_mtime_ns}" if content else ""  # another hard link changes ctime only
        found[str(path.relative_to(directory))] = f"{stat.filemode(status.st_mode)} {times} {content}"
    return found


def _quiet() -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8", "HOME": "/"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a volume with the valid packs."""
    setup = HostileSetup(tmp_path_factory.mktemp("installed"))
    setup.create()
    done = Site(setup.volume, setup.environment).run()
    assert done.code == 0, done.err
    return setup.volume


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Outcomes:
    """Run all cases once."""
    cases = [case for case in TABLE if not case.inodes or _IS_ROOT]
    found = Outcomes(tmp_path_factory.mktemp("hostile") / "grounds", cases, installed)
    found.run()
    return found


@pytest.mark.parametrize("case", _REJECTED, ids=str)
def test_hostile_input_is_rejected(case: HostileCase, outcomes: Outcomes) -> None:
    """The exit code is that of the error class, one line names the cause, and nothing is published."""
    answer = outcomes.answer(case)
    assert answer.code == case.code, answer.err
    assert case.words in outcomes.message(case)
    assert answer.err.count(_FAULT) == 1
    assert "Traceback" not in answer.err
    assert all(line.isprintable() for line in answer.err.splitlines())
    assert answer.out == ""
    assert case.installed or published(outcomes.setup(case)) == []


@pytest.mark.parametrize("case", _HARMLESS, ids=str)
def test_unusual_input_is_handled(case: HostileCase, outcomes: Outcomes) -> None:
    """Unusual but valid input is installed, and a link in the way is removed."""
    answer = outcomes.answer(case)
    assert answer.code == 0, answer.err
    if not case.arguments or case.installed:
        assert_tree_is_correct(outcomes.setup(case))


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_nothing_outside_the_volume_changes(case: HostileCase, outcomes: Outcomes) -> None:
    """Other files keep their bytes, modes and times."""
    outcomes.answer(case)
    assert outcomes.changed_outside(case) == []


@pytest.mark.parametrize("case", TABLE, ids=str)
def test_memory_stays_within_limit(case: HostileCase, outcomes: Outcomes) -> None:
    """Memory depends on the limits of the program, not on the sizes that the input declares."""
    assert outcomes.answer(case).memory <= case.memory


def test_each_error_has_its_own_message(outcomes: Outcomes) -> None:
    """No message contains the words of another error."""
    expected = [(case.words, outcomes.message(case)) for case in _REJECTED if not case.inodes or _IS_ROOT]
    confused = [
        (words, message)
        for (words, _), (others, message) in product(expected, expected)
        if words in message and others not in words and words not in others
    ]
    assert confused == []


def test_no_write_outside_the_volume_is_attempted(outcomes: Outcomes) -> None:
    """With everything but the volume mounted read-only, the kernel refuses no write."""
    require_root()
    assert outcomes.refused == ""


def test_trace_shows_attempted_write(tmp_path: Path, installed: Path) -> None:
    """The control case writes outside the volume, and the trace that the test above reads shows it."""
    require_root()
    control = Outcomes(tmp_path / "grounds", [CONTROL], installed)
    control.run()
    assert control.answer(CONTROL).code == CONTROL.code
    assert f"{control.setup(CONTROL).outside}/log" in control.refused


@pytest.mark.parametrize("case", [case for case in TABLE if case.name in _EXAMPLES], ids=str)
def test_separate_process_has_same_result(
    case: HostileCase, tmp_path: Path, outcomes: Outcomes, installed: Path
) -> None:
    """The program has the same exit code and message when it is started as on a site."""
    setup = HostileSetup(tmp_path)
    prepare(case, setup, installed)
    done = Site(setup.volume, case.environment(setup)).run(*case.arguments)
    assert done.code == outcomes.answer(case).code, done.err
    assert not case.code or done.fault == outcomes.message(case).replace(str(outcomes.setup(case).root), str(tmp_path))


def test_table_has_examples_and_a_hundred_cases() -> None:
    """The examples are in the table, and at least 100 cases are rejected."""
    assert {case.name for case in TABLE} >= set(_EXAMPLES)
    assert len(_REJECTED) >= 100


def published(setup: HostileSetup) -> list[str]:
    """Return the published paths of the hostile pack."""
    volume = setup.volume
    public = [volume / "current", volume / "packs" / PACK / VERSION, volume / "manifests" / PACK / f"{VERSION}.json"]
    return [str(path) for path in public if os.path.lexists(path) and not behind_a_link(path, volume)]


def behind_a_link(path: Path, volume: Path) -> bool:
    """Return True if a parent of the path in the volume is a link."""
    return any(parent.is_symlink() for parent in path.parents if parent.is_relative_to(volume))


def assert_tree_is_correct(setup: HostileSetup) -> None:
    """Fail unless the active packs consist of regular files and directories, and the model has the published bytes."""
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
