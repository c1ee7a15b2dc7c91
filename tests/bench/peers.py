"""What is run against what: the program, and each peer as its own manual would have it for the same result.

Every peer checks what it brought: aria2, curl and rclone by sha256sum, casync and zchunk by the digests in their index;
rsync compares sizes and times, or with `-c` digests.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench import tools
from tests.bench.datasets import COMMON, FIRST, PACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.bench.datasets import DatasetFiles

OURS = "models_init"
ARIA2, CURL, RCLONE, CASYNC, ZCHUNK, RSYNC, RSYNC_C = (
    "aria2c",
    "curl | tee | tar",
    "rclone",
    "casync",
    "zchunk",
    "rsync",
    "rsync -c",
)
_TOKEN = "sv=2024-11-04&se=2099-01-01T00%3A00%3A00Z&sr=c&sp=rl&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"


@dataclass(frozen=True)
class Transfer:
    """What is to be brought where: a version of a stock, from a server at `origin`, into the empty `directory`.

    `container` is its address as the program is told, if it is no plain server's; `query` is what the others add to
    addresses; `old` is an installed tree, `old_zck` the file that it came from. The program alone is asked for several
    `packs`.
    """

    stock: DatasetFiles
    directory: Path
    origin: str
    version: str = FIRST
    authority: Path | None = None
    container: str = ""
    query: str = ""
    old: Path | None = None
    old_zck: Path | None = None
    rsync: str = ""
    packs: tuple[str, ...] = (PACK,)

    @property
    def archive(self) -> str:
        """The archive's address."""
        base = self.container or f"{self.origin}/models"
        return f"{base}/{PACK}/{self.version}/pack.tar.zst{'?' if self.query else ''}{self.query}"

    @property
    def out(self) -> Path:
        """Where peers leave the tree."""
        return self.directory / "tree"


@dataclass(frozen=True)
class PeerCommand:
    """What to run, in the case's directory or in `cwd`."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Contender:
    """Somebody who can bring a pack; `tools` must be there."""

    name: str
    make: Callable[[Transfer], PeerCommand]
    tools: tuple[str, ...] = ()
    result: Callable[[Transfer], Path] = lambda case: case.out


@dataclass(frozen=True)
class ProgramCopy:
    """A copy of the program as it was when the bench began, so that nobody's edits come in between.

    `python` is one that has what a site has, and no more: structlog looks for what developers have.
    """

    directory: Path
    python: Path

    def command(self, case: Transfer, *arguments: str) -> PeerCommand:
        """Run it as a site does; compiled modules are used, as in the image."""
        environment = {
            "REALTIME_LANGUAGES": ",".join(case.packs),
            "REALTIME_LANGUAGE_VERSION": case.version,
            "REALTIME_COMMON_VERSION": COMMON.version,
            "MODELS_URL": case.container or f"{case.origin}/models",
            "MODELS_PREFIX": "/",
            "MODELS_DIR": str(case.directory / "volume"),
            "MODELS_SAS_TOKEN": case.query or _TOKEN,
            "MODELS_CA_FILE": str(case.authority or ""),
        }
        return PeerCommand([str(self.python), "-m", "models_init", *arguments], environment, self.directory)

    def contender(self, *arguments: str, name: str = OURS) -> Contender:
        """As one who brings a pack."""
        return Contender(name, lambda case: self.command(case, *arguments), result=installed)


def installed(case: Transfer) -> Path:
    """Where an engine finds the pack."""
    return (case.directory / "volume" / "current" / PACK).resolve()


def _script(text: str) -> PeerCommand:
    return PeerCommand(["bash", "-o", "pipefail", "-euc", text])


def _quoted(*words: object) -> str:
    return shlex.join(map(str, words))


def _check_and_unpack(case: Transfer) -> str:
    digest = case.stock.digest(case.version)
    return f"echo '{digest}  pack.tar.zst' | sha256sum -c --quiet; mkdir tree; tar --zstd -xf pack.tar.zst -C tree"


def aria2(case: Transfer, *options: str) -> PeerCommand:
    """Sixteen connections, then sha256sum, then tar."""
    trust = [f"--ca-certificate={case.authority}"] if case.authority else []
    fetch = ["aria2c", "-q", "-x16", "-s16", "--file-allocation=none", *trust, *options, "-o", "pack.tar.zst"]
    return _script(f"{_quoted(*fetch, case.archive)}; {_check_and_unpack(case)}")


def curl(case: Transfer) -> PeerCommand:
    """One connection; nothing is kept for a second try."""
    fetch = _quoted("curl", "-sSf", *(["--cacert", case.authority] if case.authority else []), case.archive)
    unpack = f"{fetch} | tee >(sha256sum >&3) | tar --zstd -x -C tree"
    return _script(f"mkdir tree; sum=$({{ {unpack}; }} 3>&1); [[ $sum == {case.stock.digest(case.version)}* ]]")


def rclone(case: Transfer) -> PeerCommand:
    """Sixteen streams, then sha256sum, then tar."""
    base, _, path = case.archive.partition("//")[2].partition("/")
    trust = ["--ca-cert", case.authority] if case.authority else []
    streams = ["--multi-thread-streams=16", "--multi-thread-cutoff=1M", "--config=/dev/null", "-q"]
    fetch = ["rclone", "copyto", "--http-url", f"{case.archive.partition('//')[0]}//{base}", *streams, *trust]
    return _script(f"{_quoted(*fetch, f':http:{path}', 'pack.tar.zst')}; {_check_and_unpack(case)}")


def casync(case: Transfer) -> PeerCommand:
    """Chunks of 64 KiB, about, one request each; those of the old tree are used."""
    seed = [f"--seed={case.old}"] if case.old else []
    base = f"{case.origin}/casync"
    return _script(_quoted("casync", "extract", *seed, f"--store={base}/store", f"{base}/{case.version}.caidx", "tree"))


def zchunk(case: Transfer) -> PeerCommand:
    """Its own file of chunks of 32 KiB, about; those of the old file are used."""
    source = ["-s", case.old_zck] if case.old_zck else []
    fetch = _quoted("zckdl", "-q", *source, f"{case.origin}/zck/{case.version}.tar.zck")
    return _script(f"{fetch}; mkdir tree; unzck -c {case.version}.tar.zck | tar -x -C tree")


def rsync(case: Transfer, *options: str) -> PeerCommand:
    """Unchanged files are linked, of others only what differs is sent."""
    link = [f"--link-dest={case.old}"] if case.old else []
    return _script(_quoted("rsync", "-a", "--stats", *options, *link, f"{case.rsync}/{case.version}/", "tree/"))


PEERS = {
    peer.name: peer
    for peer in (
        Contender(ARIA2, aria2, ("aria2c", "sha256sum", "tar", "zstd")),
        Contender(CURL, curl, ("curl", "sha256sum", "tar", "zstd")),
        Contender(RCLONE, rclone, ("rclone", "sha256sum", "tar", "zstd")),
        Contender(CASYNC, casync, ("casync",)),
        Contender(ZCHUNK, zchunk, ("zckdl", "unzck", "tar")),
        Contender(RSYNC, rsync, ("rsync",)),
        Contender(RSYNC_C, lambda case: rsync(case, "-c"), ("rsync",)),
    )
}


def nowhere(case: Transfer) -> PeerCommand:
    """Read the archive and drop it: what the server gives at most."""
    trust = ["--cacert", str(case.authority)] if case.authority else []
    return PeerCommand(["curl", "-sSf", "-o", "/dev/null", *trust, case.archive])


def parallel_sha256sum(tree: Path, count: int) -> PeerCommand:
    """Hash a tree of `count` files on as many processes as there are cores, the largest files first."""
    portion = max(1, count // (16 * tools.cores()))
    largest_first = r"find . -type f -printf '%s %p\0' | sort -zrn | cut -zd' ' -f2-"
    hashing = f"xargs -0 -n{portion} -P{tools.cores()} sha256sum"
    return _script(f"cd {_quoted(tree)}; {largest_first} | {hashing} >/dev/null")
