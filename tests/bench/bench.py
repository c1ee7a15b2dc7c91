"""A run of the benchmark: its directories, measurement and results."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import models_init
from tests.bench import tools, trees
from tests.bench.peers import ProgramCopy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.peers import Contender, PeerCommand, Transfer
    from tests.bench.servers import Nginx
    from tests.bench.trees import Listing

_ROOT = Path(__file__).parents[2]
_SYSTEM_PYTHON = "/usr/bin/python3"
_METER = Path(__file__).parent / "meter.py"
_LIMIT = 1200  # seconds of a run
_MEMORY_DISK = Path("/dev/shm")


@dataclass(frozen=True)
class Figures:
    """Figures of one run: seconds, CPU seconds, peak memory of the largest process and bytes sent by the server."""

    wall: float
    cpu: float
    rss: int
    sent: int = 0


@dataclass(frozen=True)
class Run:
    """Figures of a program in one round of a case."""

    case: str
    contender: str
    round: int
    wall: float
    cpu: float
    rss: int
    sent: int = 0
    facts: dict[str, float] = field(default_factory=dict)


@dataclass
class Row:
    """All runs of one scenario, and the programs that were skipped, each with the remedy."""

    name: str
    runs: list[Run] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


class Contest(NamedTuple):
    """A case: its name, its setup in an empty directory, and the server that counts bytes, if any."""

    name: str
    setting: Callable[[Path], Transfer]
    server: Nginx | None = None


class FailedError(Exception):
    """A run failed, or its result differs from the published tree."""


@dataclass(frozen=True)
class Bench:
    """Directories and options: `work` keeps packs and trees between runs, `volumes` is on tmpfs, `disk` is not.

    `full` is False for the small form, which divides sizes by 64.
    """

    work: Path
    volumes: Path
    disk: Path
    out: Path
    pairs: int
    full: bool
    program: ProgramCopy

    def scaled(self, size: int) -> int:
        """Return the size in bytes, divided by 64 in the small form."""
        return size if self.full else size // 64

    def measure(self, command: PeerCommand, cwd: Path, *, sync: bool = False) -> Figures:
        """Run a command and return its figures. Raises `FailedError`."""
        result, output = self.volumes / "figures.json", self.volumes / "output"
        options = ["--sync"] if sync else []
        with output.open("wb") as log:
            done = subprocess.run(
                [sys.executable, "-I", "-S", str(_METER), str(result), *options, "--", *command.arguments],
                cwd=command.cwd or cwd,
                env=_environment(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_LIMIT,
                check=False,
            )
        if done.returncode:
            end = output.read_text(errors="replace")[-2000:]
            raise FailedError(f"{command.arguments} failed with {done.returncode}:\n{end}")
        return Figures(**json.loads(result.read_text()))

    def output(self) -> str:
        """Return the output of the last run."""
        return (self.volumes / "output").read_text(errors="replace")

    @contextmanager
    def directory(self, *, on_disk: bool = False) -> Iterator[Path]:
        """Create an empty directory, and remove it after the block."""
        path = Path(tempfile.mkdtemp(dir=self.disk if on_disk else self.volumes))
        try:
            yield path
        finally:
            shutil.rmtree(path)

    def save(self, row: Row) -> None:
        """Write the results of a scenario."""
        self.out.mkdir(parents=True, exist_ok=True)
        content = {**asdict(row), **self._circumstances()}
        (self.out / f"{row.name}.json").write_text(json.dumps(content, indent=1) + "\n")

    def _circumstances(self) -> dict[str, Any]:
        return {
            "date": datetime.now(UTC).isoformat(timespec="minutes"),
            "machine": f"{_machine()}, CPython {self.program.version()}",
            "options": f"--pairs {self.pairs} --size {'full' if self.full else 'small'}",
            "version": models_init.__version__,
        }


@contextmanager
def opened(work: Path, out: Path, pairs: int, *, full: bool) -> Iterator[Bench]:
    """Prepare a run; remove its temporary directories at the end."""
    on_memory = _MEMORY_DISK if _MEMORY_DISK.is_dir() else None
    work.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="models-bench-", dir=on_memory) as volumes,
        tempfile.TemporaryDirectory(prefix="volume-", dir=work) as disk,
    ):
        program = ProgramCopy(Path(volumes, "program"), _site_python(_ROOT / ".cache" / "bench" / "site"))
        shutil.copytree(_ROOT / "models_init", program.directory / "models_init")
        subprocess.run([program.python, "-m", "compileall", "-q", program.directory], check=True)
        yield Bench(work, Path(volumes), Path(disk), out, pairs, full, program)


def _site_python(directory: Path) -> Path:
    """Return the Python of a virtual environment with the packages of a site, compiled as in the image."""
    stamp, python = directory / "lock", directory / "bin" / "python"
    lock, base = _ROOT / "requirements.lock", _interpreter()
    made_from = f"{base}\n{lock.read_text()}"
    if not stamp.exists() or stamp.read_text() != made_from:
        sys.stdout.write("bench: installing requirements.lock into an environment of its own ...\n")
        subprocess.run([base, "-m", "venv", "--clear", "--without-pip", directory], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input"]
        subprocess.run([*pip, "install", "-qq", "--compile", "--require-hashes", "-r", str(lock)], check=True)
        stamp.write_text(made_from)
    return python


def _interpreter() -> str:
    """Return the system's interpreter if it is new enough, else this one.

    Distributions build their interpreter with profile-guided optimization, as the image does. An interpreter without it
    is up to 1.5 times slower.
    """
    check = [_SYSTEM_PYTHON, "-c", "import sys, venv; sys.exit(sys.version_info < (3, 11))"]
    has_one = os.access(_SYSTEM_PYTHON, os.X_OK) and not subprocess.run(check, check=False).returncode
    return _SYSTEM_PYTHON if has_one else sys.executable


def able(row: Row, contenders: Sequence[Contender]) -> list[Contender]:
    """Return the programs whose tools are installed; note the others."""
    for contender in contenders:
        if lacking := tools.absent(contender.tools):
            row.skipped[contender.name] = tools.remedy(lacking)
    return [contender for contender in contenders if contender.name not in row.skipped]


def rounds(bench: Bench, contenders: Sequence[Contender], pairs: int = 0) -> Iterator[tuple[int, Contender]]:
    """Yield the programs in turn; each round begins with a different program."""
    for number in range(pairs or bench.pairs):
        turn = number % len(contenders)
        for contender in [*contenders[turn:], *contenders[:turn]]:
            yield number, contender


def compete(
    bench: Bench,
    row: Row,
    contest: Contest,
    contenders: Sequence[Contender],
    *,
    on_disk: bool = False,
    pairs: int = 0,
) -> None:
    """Measure the programs in turn and compare their results. Raises `FailedError`."""
    present = able(row, contenders)
    name, setting, server = contest
    case = setting(bench.volumes)
    wanted = case.files.listing(case.version)
    for number, contender in rounds(bench, present, pairs):
        with bench.directory(on_disk=on_disk) as directory:
            case = setting(directory)
            if server:
                server.forget()
            figures = bench.measure(contender.make(case), directory, sync=on_disk)
            sent = server.sent() if server else 0
            require_same(contender.name, contender.result(case), wanted)
        enter(bench, row, Run(name, contender.name, number, figures.wall, figures.cpu, figures.rss, sent))


def enter(bench: Bench, row: Row, run: Run) -> None:
    """Save a run and print it."""
    row.runs.append(run)
    bench.save(row)
    sys.stdout.write(
        f"{row.name:<10} {run.case:<18} {run.contender:<17} {run.wall:8.3f} s  {run.cpu:7.2f} CPU s  "
        f"{run.rss >> 20:5} MiB  {run.sent / 1e6:8.1f} MB\n"
    )
    sys.stdout.flush()


def require_same(name: str, tree: Path, wanted: Listing) -> None:
    """Raise `FailedError` if the tree differs."""
    if lines := trees.differences(tree, wanted):
        raise FailedError(f"{name} gave a different tree: " + "; ".join(lines[:3]))


def _environment(command: PeerCommand) -> dict[str, str]:
    """Return a clean environment in which Python uses compiled modules."""
    usual = {"PATH": os.environ["PATH"], "HOME": "/", "LANG": "C.UTF-8"}
    return {**usual, **{name: value for name, value in command.environment.items() if value}}


def _machine() -> str:
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    models = {line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")}
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    system = f"{platform.system()} {platform.release()}"
    return f"{tools.cores()} cores ({', '.join(sorted(models)) or platform.machine()}), {memory} GiB, {system}"
