"""Describe this process and its machine: program, limits, network settings, clock. Reads files and environment only."""

from __future__ import annotations

import hashlib
import os
import platform
import resource
import ssl
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from models_init import __version__
from models_init.core.redaction import MARK, register
from models_init.runtime import memory_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKAGES = ("aiohttp", "pydantic", "pynacl", "structlog", "tenacity", "tqdm", "zstandard")
_PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
_LIMITS = ("NOFILE", "NPROC", "FSIZE", "AS", "MEMLOCK", "STACK")
_CONTROL_FILES = (
    *("memory.max", "memory.current", "pids.max", "pids.current", "cpu.max"),
    *("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "pids/pids.max", "pids/pids.current"),
    *("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"),
)
_STATUS_FIELDS = ("CapEff", "NoNewPrivs", "Seccomp", "Threads", "VmHWM")


def program(environment: Mapping[str, str]) -> dict[str, object]:
    """Describe program, Python and libraries. Support scripts on the host name the image in MODELS_INIT_IMAGE."""
    return {
        "program": f"models_init {__version__}",
        "image": environment.get("MODELS_INIT_IMAGE") or None,
        "python": sys.version,
        "executable": sys.executable,
        "packages": {name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "in_container": any(map(os.path.exists, ("/.dockerenv", "/run/.containerenv"))),
        "user": os.geteuid(),
        "groups": sorted({os.getegid(), *os.getgroups()}),
    }


def limits() -> dict[str, object]:
    """Describe the limits of the process, of its control group and of the machine."""
    root = Path("/sys/fs/cgroup")
    return {
        "resource_limits": {name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}")) for name in _LIMITS},
        "control_group": {name: text for name in _CONTROL_FILES if (text := _text(root / name))},
        "memory_limit_bytes": memory_limits.limit_bytes(),
        "memory_available_bytes": memory_limits.available_bytes(),
        "processors": len(os.sched_getaffinity(0)),
        "load": os.getloadavg(),
        "process": _fields(_text(Path("/proc/self/status")), _STATUS_FIELDS),
    }


def network(environment: Mapping[str, str], ca_file: str) -> dict[str, object]:
    """Describe proxies, name servers and certificate authorities. Nothing is contacted."""
    variables = [name for upper in _PROXIES for name in (upper.lower(), upper)]
    return {
        "proxies": {name: without_password(environment[name]) for name in variables if environment.get(name)},
        "name_servers": [line for line in _text(Path("/etc/resolv.conf")).splitlines() if line[:1] not in "#;"],
        "certificates": _certificates(ca_file),
    }


def clock() -> dict[str, object]:
    """Describe the clock. Its difference from the source's clock is part of check.json."""
    return {
        "utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "zone": time.tzname,
        "seconds_since_boot": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
    }


def without_password(proxy: str) -> str:
    """Return a proxy's URL without user and password, and register both for redaction."""
    before, at, host = proxy.rpartition("@")
    if not at:
        return proxy
    scheme, separator, login = before.rpartition("://")
    password = login.partition(":")[2]
    for secret in (login, password, unquote(password)):
        register(secret)
    return f"{scheme}{separator}{MARK}@{host}"


def _certificates(ca_file: str) -> dict[str, object]:
    paths = ssl.get_default_verify_paths()
    path = ca_file or paths.cafile or paths.openssl_cafile
    found: dict[str, object] = {"from": "MODELS_CA_FILE" if ca_file else "the system", "file": path}
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return found | {"error": error.strerror}
    digest = hashlib.sha256(content).hexdigest()
    return found | {"bytes": len(content), "sha256": digest, "certificates": content.count(b"-----BEGIN CERT")}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _text(path: Path) -> str:
    with suppress(OSError, UnicodeDecodeError):
        return path.read_text().strip()
    return ""


def _fields(text: str, names: tuple[str, ...]) -> dict[str, str]:
    pairs = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs if name in names}
