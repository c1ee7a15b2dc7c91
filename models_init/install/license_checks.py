"""Check the license files before anything is downloaded.

The fields of the platform license that concern an install are checked; its signature is not, because the platform
verifies it. The engine license is opaque, so only unmistakable damage is reported.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import LicenseError
from models_init.core.units import count, human_time, one_line, some
from models_init.formats import license as license_format
from models_init.formats.license import PlatformLicense

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models_init.install.check_report import CheckReport

PLATFORM_CHECK, ENGINE_CHECK = "platform license", "engine license"

_SOON = timedelta(days=14)
_SHORTEST_BINARY = 3  # CRLF line ends that a binary file needs to count as converted: one in 256**3 has them by chance
_ASK = "ask the vendor's support for"
_UNCHECKED = "; it was not checked"
_LENIENT = "if the file is right, set MODELS_LICENSE_CHECKS=warn"


class LicenseFiles(NamedTuple):
    """The paths of `license.json` and `license.dat`; None for a file that is not checked."""

    platform: Path | None
    engine: Path | None


@dataclass(slots=True)
class LicenseFinding:
    """The result of one check: `failures` end a run, `warnings` do not, `note` describes the file."""

    check: str
    failures: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, slots=True)
class LicenseReport:
    """Both findings, the content of the platform license, and the SHA-256 of the engine license.

    `engine_sha256` is empty without a readable file.
    """

    platform: LicenseFinding
    engine: LicenseFinding
    content: PlatformLicense | None
    engine_sha256: str

    @property
    def findings(self) -> tuple[LicenseFinding, LicenseFinding]:
        """Return the findings in the order of `--check`."""
        return self.platform, self.engine

    @property
    def failures(self) -> list[str]:
        """Return everything that ends a run."""
        return [failure for finding in self.findings for failure in finding.failures]

    @property
    def warnings(self) -> list[str]:
        """Return everything that needs attention but does not end a run."""
        return [warning for finding in self.findings for warning in finding.warnings]

    def add_to(self, report: CheckReport) -> None:
        """Add the findings to the report of `--check`."""
        for finding in self.findings:
            if finding.failures:
                report.fail(finding.check, LicenseError(*finding.failures))
            elif finding.warnings:
                report.warn(finding.check, "; ".join(finding.warnings))
            else:
                report.ok(finding.check, finding.note)

    def facts(self) -> dict[str, object]:
        """Return the known facts about the licenses for JSON; none of them is secret."""
        found = self.content or PlatformLicense()
        return {
            "licensee": found.licensee,
            "realtime": found.realtime,
            "max_realtime_streams": found.max_realtime_streams,
            "languages": None if found.languages is None else list(found.languages),
            "expires": found.expires.isoformat() if found.expires else None,
            "not_found": list(found.missing) if self.content else None,
            "engine_license_sha256": self.engine_sha256 or None,
            "failures": self.failures,
            "warnings": self.warnings,
        }


def inspect(files: LicenseFiles, languages: Sequence[str], *, lenient: bool = False) -> LicenseReport:
    """Check both files for an install of these languages. With `lenient`, failures are reported as warnings."""
    found, content, document = _check_platform(files.platform, languages)
    engine, sha256 = _check_engine(files.engine, document)
    if lenient:
        for finding in (found, engine):
            finding.warnings[:0] = finding.failures
            finding.failures.clear()
    return LicenseReport(found, engine, content, sha256)


# -- the platform license


def _check_platform(
    path: Path | None, languages: Sequence[str]
) -> tuple[LicenseFinding, PlatformLicense | None, bytes]:
    finding = LicenseFinding(PLATFORM_CHECK)
    if not path or not os.path.lexists(path) or path.is_char_device():
        finding.note = f"not checked: {path or 'license.json'} does not exist; PLATFORM_LICENSE_FILE names it"
        return finding, None, b""
    document = b""
    try:
        document = _read(path, license_format.SIZE_LIMIT)
        content = license_format.parse(document)
    except OSError as error:
        problem = _read_problem(path, error, "PLATFORM_LICENSE_FILE")
        unknown = error.errno in (errno.EACCES, errno.ENOENT)  # the platform's user and container may have access
        (finding.warnings if unknown else finding.failures).append(f"{problem}{_UNCHECKED if unknown else ''}")
        return finding, None, document
    except ValueError as error:
        finding.failures.append(f"{path} {one_line(error)}; {_ASK} license.json and put it there unchanged; {_LENIENT}")
        return finding, None, document
    finding.failures += _platform_failures(path, content, languages)
    finding.warnings += _platform_warnings(path, content, languages)
    finding.note = _described(content)
    return finding, content, document


def _platform_failures(path: Path, found: PlatformLicense, languages: Sequence[str]) -> Iterator[str]:
    if "realtime" in found.missing:
        yield f"{path} is a v1 license, without `realtime`; {_ASK} a v2 license"
    elif found.realtime is False:
        yield f"{path} does not include realtime (`realtime` is false); {_ASK} a license with realtime"
    unlicensed = [language for language in languages if found.includes(language) is False]
    if unlicensed:
        yield (
            f"{path} does not include {some(unlicensed)}; it includes {some(found.languages or ()) or 'no language'}; "
            f"change REALTIME_LANGUAGES, or {_ASK} a license with that language"
        )
    if found.expires and found.expires <= datetime.now(UTC):
        yield f"{path} expired on {_day(found.expires)}; {_ASK} a new license"


def _platform_warnings(path: Path, found: PlatformLicense, languages: Sequence[str]) -> Iterator[str]:
    now = datetime.now(UTC)
    if found.expires and now < found.expires < now + _SOON:
        left = human_time((found.expires - now).total_seconds())
        yield f"{path} expires on {_day(found.expires)}, in {left}; {_ASK} a new license"
    streams = found.max_realtime_streams
    if streams is not None and len(languages) > streams:
        yield (
            f"{path} permits {count(streams, 'realtime stream')}, fewer than the {len(languages)} engines, one per "
            f"language; {_ASK} more streams, or name fewer languages"
        )
    unclear = [language for language in languages if found.languages and found.includes(language) is None]
    if unclear:
        yield f"{path} includes {some(found.languages or ())}; whether that covers {some(unclear)} was not checked"
    absent = [name for name in found.missing if name not in ("realtime", "licensee")]
    if absent:
        yield f"{path} has no field for {', '.join(absent)}, so that was not checked"
    if found.invalid:
        yield f"{path} was not understood completely: {', '.join(found.invalid)}; that was not checked"


def _described(found: PlatformLicense) -> str:
    streams = found.max_realtime_streams
    expires = _day(found.expires) if found.expires else ""
    facts = [
        f"licensee {one_line(found.licensee)}" if found.licensee else "",
        f"languages {', '.join(found.languages)}" if found.languages else "",
        count(streams, "realtime stream") if streams is not None else "",
        f"until {expires}" if expires else "",
        "the platform verifies its signature, this program does not",
    ]
    return "; ".join(filter(None, facts))


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}"


# -- the engine license


def _check_engine(path: Path | None, platform_document: bytes) -> tuple[LicenseFinding, str]:
    finding = LicenseFinding(ENGINE_CHECK)
    if not path:
        finding.note = "not checked: REALTIME_LICENSE_FILE is not set"
        return finding, ""
    try:
        content = _read(path, license_format.SIZE_LIMIT)
    except OSError as error:
        problem = _read_problem(path, error, "REALTIME_LICENSE_FILE")
        unknown = error.errno == errno.ENOENT and path.is_symlink()  # the engine's container may have the target
        (finding.warnings if unknown else finding.failures).append(f"{problem}{_UNCHECKED if unknown else ''}")
        return finding, ""
    except ValueError as error:
        finding.failures.append(f"{path} {error}; {_ASK} license.dat; {_LENIENT}")
        return finding, ""
    if damage := _damage(content, platform_document):
        finding.failures.append(f"{path} {damage}")
    sha256 = hashlib.sha256(content).hexdigest()
    finding.note = f"{path}, sha256 {sha256[:12]}; the engine verifies it, this program does not"
    return finding, sha256


def _damage(content: bytes, platform_document: bytes) -> str:
    """Return a description of unmistakable damage and the remedy, or ''."""
    if not content.strip(b"\0 \t\r\n"):
        return f"is empty; {_ASK} license.dat, and copy it there again"
    if content == platform_document:
        return "is the same file as license.json; put license.dat there, which the vendor sent separately"
    if license_format.is_html(content):
        return "is a web page; download license.dat again, after logging in"
    if license_format.is_json(content):
        return "is JSON, like license.json; put license.dat there: the two files may be swapped"
    if _is_converted(content):
        return (
            "has Windows line ends (CRLF), which invalidate its signature; copy license.dat again without conversion, "
            f"with scp or ftp in binary mode; {_LENIENT}"
        )
    return ""


def _is_converted(content: bytes) -> bool:
    """Return True if all line ends are CRLF; a binary file must have at least `_SHORTEST_BINARY` of them."""
    line_ends = content.count(b"\n")
    if not line_ends or line_ends != content.count(b"\r\n"):
        return False
    return content.isascii() or line_ends >= _SHORTEST_BINARY


# -- files


def _read(path: Path, limit: int) -> bytes:
    """Return the content of a small file. Raises `OSError`; `ValueError` for one that is larger or not a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not block
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise ValueError("is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"is larger than {limit >> 20} MiB, which no license is")
    return content


def _read_problem(path: Path, error: OSError, variable: str) -> str:
    """Return why a file cannot be read, and the remedy."""
    match error.errno:
        case errno.EISDIR:
            return (
                f"{path} is a directory, which docker creates if the file to mount does not exist{_inside(path)}; "
                "remove the directory, put the file there, and run again"
            )
        case errno.ENOENT if path.is_symlink():
            return f"{path} is a link to {os.readlink(path)}, which does not exist here; name the file in {variable}"
        case errno.ENOENT | errno.ENOTDIR:
            return f"{path} does not exist; put the file there that the vendor sent, or name its path in {variable}"
        case errno.EACCES:
            return (
                f"{path} cannot be read by user {os.geteuid()}; run chmod 644 on the file and chmod 755 on its "
                "directory, or, if only another user needs to read it, set MODELS_LICENSE_CHECKS=warn"
            )
    return f"{path} cannot be read: {error.strerror}; check the disk and the mount"


def _inside(path: Path) -> str:
    """Return a remark if the license was copied into the directory that docker created in its place."""
    copied = path / path.name
    return f" ({copied} is probably the file)" if copied.is_file() else ""
