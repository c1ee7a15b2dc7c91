"""Write the metrics of a run as a file in Prometheus' text format, which node_exporter's textfile collector reads.

Each run replaces the file but keeps the samples of other actions, so that a prune does not hide a failed install. The
label `volume` of every sample is the name of the file, because node_exporter rejects equal samples in two files.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.redaction import redact
from models_init.fs.files import temp_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "models_init_"

METRICS = {
    "run_timestamp_seconds": "End of the last run, as Unix time.",
    "run_success_timestamp_seconds": "End of the last run with exit code 0, as Unix time.",
    "run_exit_code": "Exit code of the last run; the README lists all of them.",
    "run_duration_seconds": "Duration of the last run.",
    "run_phase_seconds": "Duration of each phase of the last run.",
    "run_fetched_bytes": "Bytes of archives that the last run received from each source.",
    "run_reused_bytes": "Bytes of packs that the last run took from the volume.",
    "run_written_bytes": "Bytes that the last run wrote to the volume.",
    "run_freed_bytes": "Bytes that the last prune freed.",
    "run_damages": "Differences that the last verification or repair found.",
    "run_retries": "Requests that the last run repeated.",
    "build_info": "Version of the program that ran last.",
    "release_info": "The current release.",
    "pack_info": "The packs of the current release.",
    "rolled_back": "1 if the operator has rolled back from the release that the environment names.",
    "token_expiry_timestamp_seconds": "Expiry of the SAS token, as Unix time.",
    "volume_free_bytes": "Free bytes on the volume.",
    "volume_size_bytes": "Size of the volume's file system.",
    "volume_free_inodes": "Free inodes on the volume.",
}
"""Name, without the prefix, and help of every metric; all of them are gauges."""

_SIZE_LIMIT = 1 << 20  # maximum bytes to read from an existing file
_LINE = re.compile(rf'{PREFIX}(\w+)\{{action="(\w+)"[^\n]*\}} [-+.e\d]+\Z')


class Sample(NamedTuple):
    """The value of a metric; `name` has no prefix. The label `action`, if any, comes first."""

    name: str
    value: float
    labels: Mapping[str, str] = MappingProxyType({})


def write(path: str, action: str, samples: Iterable[Sample]) -> None:
    """Replace the file atomically; keep the samples of other actions and the last success. Raises `OSError`."""
    lines: dict[str, list[str]] = {name: [] for name in METRICS}
    for sample in samples:
        lines[sample.name].append(_rendered(sample, Path(path).stem))
    for name, line in _kept(path, action, succeeded=bool(lines["run_success_timestamp_seconds"])):
        lines[name].append(line)
    _replace(path, "".join(_family(name, found) for name, found in lines.items() if found))


def _rendered(sample: Sample, volume: str) -> str:
    labels = {**sample.labels, "volume": volume}
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{PREFIX}{sample.name}{{{text}}} {sample.value:.15g}"


def _escaped(text: str) -> str:
    return redact(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _family(name: str, lines: list[str]) -> str:
    head = f"# HELP {PREFIX}{name} {METRICS[name]}\n# TYPE {PREFIX}{name} gauge\n"
    return head + "".join(f"{line}\n" for line in sorted(lines))


def _kept(path: str, action: str, *, succeeded: bool) -> Iterable[tuple[str, str]]:
    """Yield the samples of the existing file to keep: those of other actions, and the last success of this one."""
    for line in _existing(path).splitlines():
        found = _LINE.match(line)
        if found and found[1] in METRICS:
            is_success = found[1] == "run_success_timestamp_seconds"
            if found[2] != action or (is_success and not succeeded):
                yield found[1], line


def _existing(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_SIZE_LIMIT).decode(errors="replace")
    except OSError:
        return ""


def _replace(path: str, text: str) -> None:
    """Write the file under a name that node_exporter ignores, and rename it."""
    temporary = temp_path(Path(path).parent, "metrics")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644), "wb") as file:
            file.write(text.encode(errors="backslashreplace"))
        os.rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
