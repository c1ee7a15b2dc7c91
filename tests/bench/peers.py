"""The programs that are compared: models_init, and each peer as its manual recommends for the same result.

Every peer verifies its result: aria2, AzCopy, the SDK, curl and rclone by sha256sum, casync and zchunk by the digests
in their index, skopeo and oras by the digests of the layers; rsync compares sizes and times, or with `-c` digests.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench import tools
from tests.bench.datasets import COMMON, FIRST, PACK

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
AZCOPY, RCLONE_AZURE, SDK = "AzCopy", "rclone azureblob", "azure-storage-blob"
SKOPEO, ORAS = "skopeo copy; tar", "oras pull; tar"
_SDK_DOWNLOAD = Path(__file__).with_name("sdk_download.py")
_TOKEN = "sv=2024-11-04&se=2099-01-01T00%3A00%3A00Z&sr=c&sp=rl&sig=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%3D"


@dataclass(frozen=True)
class Transfer:
    """An install to measure: a version of a dataset from the server at `origin` into the empty `directory`.

    `container` is the URL for models_init if it is a blob container; `query` is added to the URLs of the peers; `old`
    is an installed tree, `old_zck` the file that it came from; `registry` is the host of a container registry with the
    packs. Only models_init installs several `packs`, and a `whisper` variant.
    """

    files: DatasetFiles
    directory: Path
    origin: str
    version: str = FIRST
    authority: Path | None = None
    container: str = ""
    query: str = ""
    old: Path | None = None
    old_zck: Path | None = None
    rsync: str = ""
    registry: str = ""
    packs: tuple[str, ...] = (PACK,)
    whisper: str = ""

    @property
    def archive(self) -> str:
        """The URL of the archive."""
        base = self.container or f"{self.origin}/models"
        return f"{base}/{PACK}/{self.version}/pack.tar.zst{'?' if self.query else ''}{self.query}"

    @property
    def image(self) -> str:
        """The reference of the image in the registry."""
        return f"{self.registry}/models/{PACK}:{self.version}"

    @property
    def out(self) -> Path:
        """The directory where peers write the tree."""
        return self.directory / "tree"


@dataclass(frozen=True)
class PeerCommand:
    """A command that runs in the directory of the case or in `cwd`."""

    arguments: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


@dataclass(frozen=True)
class Contender:
    """A program that can install a pack; `tools` must be installed. `again` resumes a run; None: `make` does."""

    name: str
    make: Callable[[Transfer], PeerCommand]
    tools: tuple[str, ...] = ()
    result: Callable[[Transfer], Path] = lambda case: case.out
    again: Callable[[Transfer], PeerCommand] | None = None


@dataclass(frozen=True)
class ProgramCopy:
    """A copy of models_init from the start of the benchmark, so that later edits have no effect.

    `python` has only the packages of a site, because structlog uses optional packages that developers have.
    """

    directory: Path
    python: Path

    def version(self) -> str:
        """Return the version of the interpreter."""
        program = "import platform; print(platform.python_version())"
        return subprocess.run([self.python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()

    def command(self, case: Transfer, *arguments: str) -> PeerCommand:
        """Run it as a site does; compiled modules are used, as in the image."""
        environment = {
            "REALTIME_LANGUAGES": ",".join(case.packs),
            "REALTIME_LANGUAGE_VERSION": case.version,
            "REALTIME_COMMON_VERSION": COMMON.version,
            "WHISPER_VARIANT": case.whisper,
            "MODELS_URL": f"oci://{case.registry}/models"
            if case.registry
            else case.container or f"{case.origin}/models",
            "MODELS_PREFIX": "/",
            "MODELS_DIR": str(case.directory / "volume"),
            "MODELS_SAS_TOKEN": case.query or _TOKEN,
            "MODELS_CA_FILE": str(case.authority or ""),
        }
        return PeerCommand([str(self.python), "-m", "models_init", *arguments], environment, self.directory)

    def contender(self, *arguments: str, name: str = OURS) -> Contender:
        """Return models_init as a contender."""
        return Contender(name, lambda case: self.command(case, *arguments), result=installed)


def installed(case: Transfer) -> Path:
    """Return the directory of the installed pack."""
    return (case.directory / "volume" / "current" / PACK).resolve()


def _script(text: str) -> PeerCommand:
    return PeerCommand(["bash", "-o", "pipefail", "-euc", text])


def _quoted(*words: object) -> str:
    return shlex.join(map(str, words))


def _check_and_unpack(case: Transfer) -> str:
    digest = case.files.digest(case.version)
    return f"echo '{digest}  pack.tar.zst' | sha256sum -c --quiet; mkdir tree; tar --zstd -xf pack.tar.zst -C tree"


def aria2(case: Transfer, *options: str) -> PeerCommand:
    """Sixteen connections, then sha256sum, then tar."""
    trust = [f"--ca-certificate={case.authority}"] if case.authority else []
    fetch = ["aria2c", "-q", "-x16", "-s16", "--file-allocation=none", *trust, *options, "-o", "pack.tar.zst"]
    return _script(f"{_quoted(*fetch, case.archive)}; {_check_and_unpack(case)}")


def curl(case: Transfer) -> PeerCommand:
    """One connection; nothing is kept for a resumption."""
    fetch = _quoted("curl", "-sSf", *(["--cacert", case.authority] if case.authority else []), case.archive)
    unpack = f"{fetch} | tee >(sha256sum >&3) | tar --zstd -x -C tree"
    return _script(f"mkdir tree; sum=$({{ {unpack}; }} 3>&1); [[ $sum == {case.files.digest(case.version)}* ]]")


def rclone(case: Transfer) -> PeerCommand:
    """Sixteen streams, then sha256sum, then tar."""
    base, _, path = case.archive.partition("//")[2].partition("/")
    return _rclone(case, ["--http-url", f"{case.archive.partition('//')[0]}//{base}", f":http:{path}"])


def rclone_azure(case: Transfer) -> PeerCommand:
    """Sixteen streams of the Azure backend, then sha256sum, then tar."""
    name = case.container.rpartition("/")[2]
    source = f":azureblob:{name}/{PACK}/{case.version}/pack.tar.zst"
    return _rclone(case, ["--azureblob-sas-url", f"{case.container}?{case.query}", source])


def _rclone(case: Transfer, source: list[str]) -> PeerCommand:
    trust = ["--ca-cert", str(case.authority)] if case.authority else []
    streams = ["--multi-thread-streams=16", "--multi-thread-cutoff=1M", "--config=/dev/null", "-q"]
    fetch = _quoted(tools.find("rclone"), "copyto", *streams, *trust, *source, "pack.tar.zst")
    return _script(f"{fetch}; {_check_and_unpack(case)}")


def azcopy(case: Transfer) -> PeerCommand:
    """The number of connections that AzCopy chooses, then sha256sum, then tar."""
    return _azcopy(case, _quoted("copy", case.archive, "pack.tar.zst", "--from-to=BlobLocal"))


def azcopy_again(case: Transfer) -> PeerCommand:
    """Resume the job that was interrupted, then sha256sum, then tar."""
    resumed = _quoted("jobs", "resume", f"--source-sas={case.query}")
    return _azcopy(case, f'{resumed} "$(ls azcopy | grep -m1 -o "^[0-9a-f-]\\{{36\\}}")"')


def _azcopy(case: Transfer, words: str) -> PeerCommand:
    environment = {
        "AZCOPY_LOG_LOCATION": str(case.directory / "azcopy-logs"),
        "AZCOPY_JOB_PLAN_LOCATION": str(case.directory / "azcopy"),
        "AZCOPY_DISABLE_SYSLOG": "true",
        "SSL_CERT_FILE": str(case.authority or ""),
    }
    fetch = f"{_quoted(tools.find('azcopy'))} {words} --output-level=essential --skip-version-check"
    return replace(_script(f"{fetch}; {_check_and_unpack(case)}"), environment=environment)


def sdk(case: Transfer) -> PeerCommand:
    """Sixteen connections of azure-storage-blob, then sha256sum, then tar."""
    trust = [case.authority] if case.authority else []
    fetch = _quoted(sys.executable, _SDK_DOWNLOAD, case.archive, "pack.tar.zst", *trust)
    return _script(f"{fetch}; {_check_and_unpack(case)}")


def casync(case: Transfer) -> PeerCommand:
    """Chunks of about 64 KiB, one request each; chunks of the old tree are reused."""
    seed = [f"--seed={case.old}"] if case.old else []
    base = f"{case.origin}/casync"
    return _script(_quoted("casync", "extract", *seed, f"--store={base}/store", f"{base}/{case.version}.caidx", "tree"))


def zchunk(case: Transfer) -> PeerCommand:
    """A file of chunks of about 32 KiB; chunks of the old file are reused."""
    source = ["-s", case.old_zck] if case.old_zck else []
    fetch = _quoted("zckdl", "-q", *source, f"{case.origin}/zck/{case.version}.tar.zck")
    return _script(f"{fetch}; mkdir tree; unzck -c {case.version}.tar.zck | tar -x -C tree")


def rsync(case: Transfer, *options: str) -> PeerCommand:
    """Unchanged files are linked; of others only the differences are sent."""
    link = [f"--link-dest={case.old}"] if case.old else []
    return _script(_quoted("rsync", "-a", "--stats", *options, *link, f"{case.rsync}/{case.version}/", "tree/"))


def skopeo(case: Transfer) -> PeerCommand:
    """Copy the layers into a directory, then tar."""
    copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{case.image}", "dir:image"]
    layer = f"image/{case.files.digest(case.version)}"
    return _script(f"{_quoted(*copy)}; mkdir tree; tar --zstd -xf {layer} -C tree")


def oras(case: Transfer) -> PeerCommand:
    """Pull the files, then tar."""
    pull = ["oras", "pull", "--plain-http", case.image]
    return _script(f"{_quoted(*pull)}; mkdir tree; tar --zstd -xf pack.tar.zst -C tree")


PEERS = {
    peer.name: peer
    for peer in (
        Contender(ARIA2, aria2, ("aria2c", "sha256sum", "tar", "zstd")),
        Contender(CURL, curl, ("curl", "sha256sum", "tar", "zstd")),
        Contender(RCLONE, rclone, ("rclone", "sha256sum", "tar", "zstd")),
        Contender(AZCOPY, azcopy, ("azcopy", "sha256sum", "tar", "zstd")),
        Contender(RCLONE_AZURE, rclone_azure, ("rclone", "sha256sum", "tar", "zstd")),
        Contender(SDK, sdk, ("sha256sum", "tar", "zstd")),
        Contender(CASYNC, casync, ("casync",)),
        Contender(ZCHUNK, zchunk, ("zckdl", "unzck", "tar")),
        Contender(RSYNC, rsync, ("rsync",)),
        Contender(RSYNC_C, lambda case: rsync(case, "-c"), ("rsync",)),
        Contender(SKOPEO, skopeo, ("skopeo", "tar", "zstd")),
        Contender(ORAS, oras, ("oras", "tar", "zstd")),
    )
}


def curl_to_file(case: Transfer) -> PeerCommand:
    """One connection into a file that a second run continues, then sha256sum, then tar."""
    fetch = _quoted("curl", "-sSf", "-C", "-", "-o", "pack.tar.zst", case.archive)
    return _script(f"{fetch}; {_check_and_unpack(case)}")


RESUMING = {
    ARIA2: Contender(ARIA2, lambda case: aria2(case, "--continue=true", "--auto-save-interval=1"), PEERS[ARIA2].tools),
    CURL: Contender("curl -C -", curl_to_file, PEERS[CURL].tools),
    AZCOPY: replace(PEERS[AZCOPY], again=azcopy_again),
    RSYNC: Contender("rsync --inplace", lambda case: rsync(case, "--inplace"), PEERS[RSYNC].tools),
    **{name: PEERS[name] for name in (CASYNC, ZCHUNK)},
}
"""The peers that can resume, with the options that this needs."""


def nowhere(case: Transfer) -> PeerCommand:
    """Read and discard the archive: the maximum that the server can send."""
    trust = ["--cacert", str(case.authority)] if case.authority else []
    return PeerCommand(["curl", "-sSf", "-o", "/dev/null", *trust, case.archive])


def parallel_sha256sum(tree: Path, count: int) -> PeerCommand:
    """Hash a tree of `count` files on as many processes as there are cores, the largest files first."""
    portion = max(1, count // (16 * tools.cores()))
    largest_first = r"find . -type f -printf '%s %p\0' | sort -zrn | cut -zd' ' -f2-"
    hashing = f"xargs -0 -n{portion} -P{tools.cores()} sha256sum"
    return _script(f"cd {_quoted(tree)}; {largest_first} | {hashing} >/dev/null")
