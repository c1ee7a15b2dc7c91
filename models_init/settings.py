"""The environment: names, defaults, and what is malformed."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from models_init.errors import UsageError
from models_init.names import PackRef
from models_init.redaction import redact, register

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from models_init.signature import PublicKey

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[a-z0-9]{2,8})*\Z")
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,18})?)\s*(B|KB|MB|GB|KiB|MiB|GiB)?\Z", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30}
_LOOPBACK = re.compile(r"(localhost|127(\.\d+){3}|\[::1\])(:\d+)?\Z")
_PLAIN = re.compile(r"[!-~]+\Z")
_LICENSED = "the version that your license names, e.g. 2026.04"
_YES, _NO = {"1", "yes", "true", "on"}, {"0", "no", "false", "off"}


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable; `flag` is its command-line form, None where the value must not stand in `ps`."""

    variable: str
    flag: str | None
    default: str
    parse: Callable[[str], Any]
    help: str


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """All settings, valid. Sizes in bytes, times in seconds. Has no repr that could leak the token.

    `faults` is empty but for who asked for that (`read`).
    """

    packs: tuple[PackRef, ...]
    url: str
    prefix: str
    folder: Path
    token: str
    token_file: str
    public_keys: tuple[PublicKey, ...]
    public_key_file: str
    connections: int
    memory: int
    max_rate: int
    ca_file: str
    idle_seconds: float
    retry_seconds: float
    token_seconds: float
    total_seconds: float
    lock_seconds: float
    log_format: str
    log_level: str
    termination_log: str
    faults: tuple[str, ...] = ()

    def read_token(self) -> str:
        """The newest token: its file is read each time. Raises `UsageError` where there is none."""
        if self.token_file:
            try:
                token = Path(self.token_file).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", "") or "it is no text"
                raise UsageError(
                    f"MODELS_SAS_TOKEN_FILE={self.token_file} cannot be read: {reason}; name the file that holds the "
                    f"token, and let user {os.geteuid()} read it"
                ) from error
            register(token)
            return token
        if not self.token:
            raise UsageError(
                "MODELS_SAS_TOKEN is not set; put the SAS token there, or its file's path into MODELS_SAS_TOKEN_FILE"
            )
        return self.token

    def read_public_keys(self) -> tuple[PublicKey, ...]:
        """The keys that packs must be signed by: those of the variable and those of the file; none if neither is set.

        Raises `UsageError` for a file that cannot be read or holds no key: that must not look like none is set.
        """
        if not self.public_key_file:
            return self.public_keys
        from models_init.signature import public_keys  # noqa: PLC0415 - by need

        try:
            in_file = public_keys(Path(self.public_key_file).read_text())
        except OSError as error:
            fault = f"cannot be read: {error.strerror}; name the file that holds the publisher's public keys"
        except ValueError as error:  # UnicodeDecodeError is one
            fault = "is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        else:
            return tuple(dict.fromkeys(self.public_keys + in_file))
        raise UsageError(f"MODELS_PUBLIC_KEY_FILE={self.public_key_file} {fault}")


def load(values: Mapping[str, str], *, with_packs: bool) -> Settings:
    """Make settings of environment variables; raise one `UsageError` with all faults.

    `with_packs`: the action needs to know which packs the environment names.
    """
    settings = read(values, with_packs=with_packs)
    if settings.faults:
        raise UsageError(*settings.faults)
    return settings


def read(values: Mapping[str, str], *, with_packs: bool) -> Settings:
    """Make settings as `load` does, with defaults in place of what is malformed, and `faults` that say what that is."""
    faults: list[str] = []
    found = {setting.variable: _value(setting, values, faults) for setting in SETTINGS}
    packs = _packs(found, faults) if with_packs else ()
    faults += _contradictions(found)
    return Settings(
        faults=tuple(faults),
        packs=packs,
        url=found["MODELS_URL"],
        prefix=found["MODELS_PREFIX"],
        folder=found["MODELS_DIR"],
        token=found["MODELS_SAS_TOKEN"],
        token_file=found["MODELS_SAS_TOKEN_FILE"],
        public_keys=found["MODELS_PUBLIC_KEY"],
        public_key_file=found["MODELS_PUBLIC_KEY_FILE"],
        connections=found["MODELS_CONNECTIONS"],
        memory=found["MODELS_MEMORY"],
        max_rate=found["MODELS_MAX_RATE"],
        ca_file=found["MODELS_CA_FILE"],
        idle_seconds=found["MODELS_IDLE_SECONDS"],
        retry_seconds=found["MODELS_RETRY_SECONDS"],
        token_seconds=found["MODELS_TOKEN_SECONDS"],
        total_seconds=found["MODELS_TOTAL_SECONDS"],
        lock_seconds=found["MODELS_LOCK_SECONDS"],
        log_format=found["MODELS_LOG_FORMAT"],
        log_level=found["MODELS_LOG_LEVEL"],
        termination_log=found["MODELS_TERMINATION_LOG"],
    )


def _value(setting: Setting, values: Mapping[str, str], faults: list[str]) -> Any:
    text = values.get(setting.variable, "").strip() or setting.default
    try:
        return setting.parse(text)
    except ValueError as error:
        faults.append(redact(f"{setting.variable}={text} {error}"))
        return setting.parse(setting.default)


def _packs(found: Mapping[str, Any], faults: list[str]) -> tuple[PackRef, ...]:
    """What the environment names: the languages, `common`, and a whisper variant if there is one."""
    wanted: dict[str, str] = {}
    for name, own in found["REALTIME_LANGUAGES"] or found["REALTIME_LANGUAGE"]:
        version = own or found["REALTIME_LANGUAGE_VERSION"]
        if not version:
            _lament(faults, _LICENSED, "REALTIME_LANGUAGE_VERSION")
        if wanted.setdefault(name, version) != version:
            faults.append(f"REALTIME_LANGUAGES names {name} twice, as {wanted[name]} and as {version}; keep one")
    if not wanted:
        if not found["REALTIME_LANGUAGE_VERSION"]:
            _lament(faults, _LICENSED, "REALTIME_LANGUAGE_VERSION")
        languages = "the languages to install, e.g. nl-nl or nl-nl,en-us"
        _lament(faults, languages, "REALTIME_LANGUAGES", "REALTIME_LANGUAGE")
    wanted["common"] = found["REALTIME_COMMON_VERSION"]
    if not wanted["common"]:
        _lament(faults, _LICENSED, "REALTIME_COMMON_VERSION")
    if found["WHISPER_VARIANT"]:
        wanted[f"whisper-{found['WHISPER_VARIANT']}"] = found["WHISPER_VERSION"] or wanted["common"]
    faults[:] = dict.fromkeys(faults)
    return tuple(sorted(PackRef(name, version) for name, version in wanted.items()))


def _lament(faults: list[str], what: str, *variables: str) -> None:
    """Say that the first variable is not set, unless one of them is: it is malformed then, and that was told."""
    if not any(fault.startswith(f"{variable}=") for variable in variables for fault in faults):
        faults.append(f"{variables[0]} is not set; set it to {what}")


def _contradictions(found: Mapping[str, Any]) -> list[str]:
    url = urlsplit(found["MODELS_URL"])
    if url.scheme == "http" and not _LOOPBACK.match(url.netloc) and not found["MODELS_ALLOW_HTTP"]:
        return [
            (
                f"MODELS_URL={found['MODELS_URL']} would send the token unencrypted; use https, or set "
                "MODELS_ALLOW_HTTP=yes if the network is trusted"
            )
        ]
    return []


def _text(text: str) -> str:
    return text


def _languages(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(_language(part.strip()) for part in text.split(",") if part.strip())


def _language(text: str) -> tuple[str, str]:
    """A language and the version of its own, empty where it has none."""
    name, at, version = text.partition("@")
    if not _LANGUAGE.match(name):
        raise ValueError(f"has {name!r}, which is no language; write it like nl-nl, several like nl-nl,en-us")
    if at:
        PackRef.make(name, version)
    return name, version


def _version(text: str) -> str:
    if text:
        _checked(text, lambda version: PackRef.make("any", version))
    return text


def _variant(text: str) -> str:
    if text:
        _checked(text, lambda variant: PackRef.make(f"whisper-{variant}", "1"))
    return text


def _checked(text: str, make: Callable[[str], PackRef]) -> None:
    try:
        make(text)
    except ValueError as error:
        raise ValueError(f"cannot be used: {error}") from None


def _url(text: str) -> str:
    if text.startswith("/"):
        return Path(text).as_uri()
    url = urlsplit(text)
    if url.query or url.fragment or url.password:
        raise ValueError("must not hold a token: put what follows the '?' into MODELS_SAS_TOKEN")
    if url.scheme == "file" and url.path.startswith("/") and url.netloc in {"", "localhost"}:
        return text
    is_address = url.hostname and url.port != 0 and _PLAIN.match(text)  # `port` raises ValueError where it is none
    if url.scheme not in {"https", "http"} or not is_address or not url.path.strip("/"):
        raise ValueError(
            "is no container URL such as https://ACCOUNT.blob.core.windows.net/CONTAINER, nor file:///FOLDER, nor a "
            "bundle such as /PATH/site.tar"
        )
    return text


def _prefix(text: str) -> str:
    text = text.strip("/")
    return f"{text}/" if text else ""


def _public_keys(text: str) -> tuple[PublicKey, ...]:
    if not text:
        return ()
    from models_init.signature import public_keys  # noqa: PLC0415 - by need

    return public_keys(text)


def _count(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise ValueError(f"is no whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 10**7:
        raise ValueError("is no number of seconds above 0")
    return seconds


def _seconds_or_none(text: str) -> float:
    return _seconds(text) if text else 0.0


def size(text: str) -> int:
    """Bytes of a text such as `64MiB` or `20MB`; raise `ValueError`."""
    match = _SIZE.match(text)
    if not match:
        raise ValueError("is no size such as 64MiB or 20MB")
    return int(float(match[1]) * _UNITS[(match[2] or "B").lower()])


def _memory(text: str) -> int:
    memory = size(text)
    if memory < 8 << 20:
        raise ValueError("is too little: at least 8MiB")
    return memory


def _rate(text: str) -> int:
    rate = size(re.sub(r"/s\Z", "", text)) if text else 0
    if text and rate < 10**4:
        raise ValueError("is too little: at least 10KB")
    return rate


def _choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in choices:
            raise ValueError(f"is none of {', '.join(choices)}")
        return text.lower()

    return parse


def _yes_no(text: str) -> bool:
    if text.lower() not in _YES | _NO:
        raise ValueError("is neither yes nor no")
    return text.lower() in _YES


def local_folder(url: str) -> Path | None:
    """The folder of a `file://` URL, None for others."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


SETTINGS = (
    Setting("REALTIME_LANGUAGES", "--languages", "", _languages, "language packs, e.g. nl-nl,en-us@2026.07"),
    Setting(
        "REALTIME_LANGUAGE", "--language", "", _languages, "one language pack, where REALTIME_LANGUAGES is not set"
    ),
    Setting(
        "REALTIME_LANGUAGE_VERSION", "--language-version", "", _version, "version of the language packs, e.g. 2026.04"
    ),
    Setting("REALTIME_COMMON_VERSION", "--common-version", "", _version, "version of the pack common"),
    Setting("WHISPER_VARIANT", "--whisper-variant", "", _variant, "whisper variant to add, e.g. large-v3-turbo"),
    Setting("WHISPER_VERSION", "--whisper-version", "", _version, "its version; that of common where not set"),
    Setting("MODELS_SAS_TOKEN", None, "", _text, "SAS token of the container"),
    Setting("MODELS_SAS_TOKEN_FILE", "--sas-token-file", "", _text, "file with the SAS token; read again when refused"),
    Setting(
        "MODELS_PUBLIC_KEY",
        "--public-key",
        "",
        _public_keys,
        "refuse packs that none of these minisign keys has signed; several after commas",
    ),
    Setting("MODELS_PUBLIC_KEY_FILE", "--public-key-file", "", _text, "file with such keys, as well or instead"),
    Setting(
        "MODELS_URL",
        "--url",
        "https://scriptixmodels.blob.core.windows.net/models",
        _url,
        "container URL, file:///FOLDER, or a bundle: /PATH/site.tar",
    ),
    Setting("MODELS_PREFIX", "--prefix", "realtime/", _prefix, "folder of the packs inside the container; / for none"),
    Setting("MODELS_DIR", "--dir", "/models", Path, "the volume"),
    Setting("MODELS_CONNECTIONS", "--connections", "16", _count(1, 64), "connections to the source, at most"),
    Setting(
        "MODELS_MEMORY", "--memory", "48MiB", _memory, "memory for buffers, at most; less under a container's limit"
    ),
    Setting("MODELS_MAX_RATE", "--max-rate", "", _rate, "bytes a second from the source, at most, e.g. 20MB"),
    Setting(
        "MODELS_CA_FILE", "--ca-file", "", _text, "file with the CA certificates to trust, instead of the system's"
    ),
    Setting("MODELS_ALLOW_HTTP", "--allow-http", "no", _yes_no, "yes: allow http:// to other machines"),
    Setting("MODELS_IDLE_SECONDS", "--idle-seconds", "30", _seconds, "give up a connection that is silent for so long"),
    Setting(
        "MODELS_RETRY_SECONDS",
        "--retry-seconds",
        "300",
        _seconds,
        "give up a source that brings nothing for so long (at most 60 if it never answered)",
    ),
    Setting(
        "MODELS_TOKEN_SECONDS",
        "--token-seconds",
        "60",
        _seconds,
        "when a token that worked is refused, wait so long for a newer one in MODELS_SAS_TOKEN_FILE",
    ),
    Setting(
        "MODELS_TOTAL_SECONDS",
        "--total-seconds",
        "",
        _seconds_or_none,
        "end a run after so long, whatever it is doing; what was verified is kept",
    ),
    Setting(
        "MODELS_LOCK_SECONDS", "--lock-seconds", "3600", _seconds, "wait for another run on the volume for so long"
    ),
    Setting("MODELS_LOG_FORMAT", "--log-format", "text", _choice("text", "json"), "text or json, on stderr"),
    Setting(
        "MODELS_LOG_LEVEL",
        "--log-level",
        "info",
        _choice("debug", "info", "warning", "error"),
        "debug, info, warning or error",
    ),
    Setting(
        "MODELS_TERMINATION_LOG",
        "--termination-log",
        "",
        _text,
        "file that a failure's cause is left in, too: Kubernetes shows what stands in /dev/termination-log",
    ),
)
