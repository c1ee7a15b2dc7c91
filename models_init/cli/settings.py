"""The settings: one model whose fields declare each environment variable with its flag, default, help and check."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, SkipValidation, ValidationError

from models_init.cli import setting_values as values
from models_init.core.errors import UsageError
from models_init.core.pack_ref import PackRef
from models_init.core.redaction import redact, register
from models_init.core.text_encoding import decode_text, escaped
from models_init.formats.minisign import PublicKey, public_keys
from models_init.sources.azure.sas import SasToken
from models_init.sources.open_source import checked_mirrors, checked_url, is_azure, lacks_container, sends_unencrypted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping


# -- the declarations


def _setting(variable: str, flag: str | None, default: str, help: str) -> Any:  # noqa: A002 - argparse's word
    """Declare a setting. It is excluded from the model's `repr`, which therefore cannot leak the token.

    `flag` is None if the value must not appear in the list of processes. `default` is text as a user would write it.
    """
    return Field(default, validation_alias=variable, description=help, json_schema_extra={"flag": flag}, repr=False)


_Text = SkipValidation[str]  # pydantic's own type rejects bytes that are not UTF-8, which a file name can contain
_Languages = Annotated[tuple[tuple[str, str], ...], PlainValidator(values.languages)]
_Version = Annotated[str, PlainValidator(values.version)]
_Seconds = Annotated[float, PlainValidator(values.seconds)]
_File = Annotated[str, PlainValidator(values.file_path)]


class Settings(BaseModel):
    """All valid settings: each field declares variable, flag, default and help. Sizes in bytes, times in seconds."""

    model_config = ConfigDict(frozen=True, validate_default=True, hide_input_in_errors=True)

    languages: _Languages = _setting(
        "REALTIME_LANGUAGES", "--languages", "", "language packs, e.g. nl-nl,en-us@2026.07"
    )
    language: _Languages = _setting(
        "REALTIME_LANGUAGE", "--language", "", "one language pack, if REALTIME_LANGUAGES is not set"
    )
    language_version: _Version = _setting(
        "REALTIME_LANGUAGE_VERSION", "--language-version", "", "version of the language packs, e.g. 2026.04"
    )
    common_version: _Version = _setting("REALTIME_COMMON_VERSION", "--common-version", "", "version of the pack common")
    whisper_variant: Annotated[str, PlainValidator(values.variant)] = _setting(
        "WHISPER_VARIANT", "--whisper-variant", "", "whisper variant to add, e.g. large-v3-turbo"
    )
    whisper_version: _Version = _setting(
        "WHISPER_VERSION", "--whisper-version", "", "its version; by default that of common"
    )
    # The product's documentation writes these paths relative to the directory of the compose file.
    engine_license: _Text = _setting(
        "REALTIME_LICENSE_FILE",
        "--engine-license",
        "",
        "license file of the engine (license.dat), to check before an install",
    )
    platform_license: _Text = _setting(
        "PLATFORM_LICENSE_FILE",
        "--platform-license",
        "",
        "license file of the platform, to check; by default license.json next to REALTIME_LICENSE_FILE, if it exists",
    )
    license_checks: Annotated[str, PlainValidator(values.choice("fail", "warn"))] = _setting(
        "MODELS_LICENSE_CHECKS",
        "--license-checks",
        "fail",
        "what a license that does not fit does: fail (exit code 23) or warn",
    )
    token: _Text = _setting("MODELS_SAS_TOKEN", None, "", "SAS token of the container")
    token_file: _File = _setting(
        "MODELS_SAS_TOKEN_FILE", "--sas-token-file", "", "file with the SAS token; read again when it is refused"
    )
    anonymous: Annotated[bool, PlainValidator(values.yes_no)] = _setting(
        "MODELS_ANONYMOUS", "--anonymous", "no", "yes: MODELS_URL is a web server or public container without a token"
    )
    registry_user: _Text = _setting(
        "MODELS_REGISTRY_USERNAME",
        "--registry-username",
        "",
        "user of the registry; by default the credential files of docker and podman are used",
    )
    registry_password: _Text = _setting("MODELS_REGISTRY_PASSWORD", None, "", "password or pull token of that user")
    registry_password_file: _File = _setting(
        "MODELS_REGISTRY_PASSWORD_FILE",
        "--registry-password-file",
        "",
        "file with the password of that user; read again when it is refused",
    )
    image_path: Annotated[str, PlainValidator(values.image_path)] = _setting(
        "MODELS_IMAGE_PATH",
        "--image-path",
        "",
        "directory of a pack in an ordinary image, e.g. /opt/{pack}; by default /models/{pack}, else /models",
    )
    public_keys: Annotated[tuple[PublicKey, ...], PlainValidator(values.minisign_keys)] = _setting(
        "MODELS_PUBLIC_KEY",
        "--public-key",
        "",
        "refuse packs that none of these minisign keys has signed; separate several with commas",
    )
    public_key_file: _File = _setting(
        "MODELS_PUBLIC_KEY_FILE",
        "--public-key-file",
        "",
        "file with such keys, in addition to MODELS_PUBLIC_KEY or instead",
    )
    url: Annotated[str, PlainValidator(checked_url)] = _setting(
        "MODELS_URL",
        "--url",
        "https://scriptixmodels.blob.core.windows.net/models",
        "container URL, registry oci://HOST/PREFIX, file:///DIRECTORY, or a bundle: /PATH/site.tar",
    )
    mirrors: Annotated[tuple[str, ...], PlainValidator(checked_mirrors)] = _setting(
        "MODELS_MIRRORS",
        "--mirrors",
        "",
        "sources to try before MODELS_URL, in this order, separated by commas; they get no token and are not trusted",
    )
    prefix: Annotated[str, PlainValidator(values.prefix)] = _setting(
        "MODELS_PREFIX", "--prefix", "realtime/", "directory of the packs inside the container; / for none"
    )
    directory: Annotated[Path, PlainValidator(values.directory)] = _setting(
        "MODELS_DIR", "--dir", "/models", "the volume"
    )
    connections: Annotated[int, PlainValidator(values.whole_number(1, 64))] = _setting(
        "MODELS_CONNECTIONS", "--connections", "16", "maximum number of connections to the source"
    )
    memory: Annotated[int, PlainValidator(values.memory_size)] = _setting(
        "MODELS_MEMORY", "--memory", "48MiB", "maximum memory for buffers; less if the container's limit is low"
    )
    max_rate: Annotated[int, PlainValidator(values.rate)] = _setting(
        "MODELS_MAX_RATE", "--max-rate", "", "maximum bytes per second from the source, e.g. 20MB"
    )
    ca_file: _File = _setting(
        "MODELS_CA_FILE", "--ca-file", "", "file with the CA certificates to trust, instead of the system's"
    )
    allow_http: Annotated[bool, PlainValidator(values.yes_no)] = _setting(
        "MODELS_ALLOW_HTTP", "--allow-http", "no", "yes: allow http:// to other machines, and registries without TLS"
    )
    idle_seconds: _Seconds = _setting(
        "MODELS_IDLE_SECONDS", "--idle-seconds", "30", "give up a connection after this long without data"
    )
    retry_seconds: _Seconds = _setting(
        "MODELS_RETRY_SECONDS",
        "--retry-seconds",
        "300",
        "give up a source after this long without data (at most 60 if it never answered)",
    )
    token_seconds: _Seconds = _setting(
        "MODELS_TOKEN_SECONDS",
        "--token-seconds",
        "60",
        "when a token that worked is refused, wait this long for a newer one in MODELS_SAS_TOKEN_FILE",
    )
    start_spread: Annotated[float, PlainValidator(values.seconds_or_none)] = _setting(
        "MODELS_START_SPREAD",
        "--start-spread",
        "",
        "before a download wait up to this long, a time that differs from site to site, so that many sites do not "
        "start at once",
    )
    total_seconds: Annotated[float, PlainValidator(values.seconds_or_none)] = _setting(
        "MODELS_TOTAL_SECONDS",
        "--total-seconds",
        "",
        "end a run after this long; verified data is kept",
    )
    lock_seconds: _Seconds = _setting(
        "MODELS_LOCK_SECONDS", "--lock-seconds", "3600", "wait this long for another run on the same volume"
    )
    log_format: Annotated[str, PlainValidator(values.choice("text", "json"))] = _setting(
        "MODELS_LOG_FORMAT", "--log-format", "text", "format of the log on stderr: text or json"
    )
    log_level: Annotated[str, PlainValidator(values.choice("debug", "info", "warning", "error"))] = _setting(
        "MODELS_LOG_LEVEL", "--log-level", "info", "lowest level to log: debug, info, warning or error"
    )
    keep_logs: Annotated[bool, PlainValidator(values.yes_no)] = _setting(
        "MODELS_KEEP_LOGS", "--keep-logs", "yes", "no: do not keep the logs of the last five runs on the volume"
    )
    termination_log: _File = _setting(
        "MODELS_TERMINATION_LOG",
        "--termination-log",
        "",
        "also write the cause of a failure to this file; Kubernetes shows /dev/termination-log",
    )
    metrics_file: Annotated[str, PlainValidator(values.metrics_file)] = _setting(
        "MODELS_METRICS_FILE",
        "--metrics-file",
        "",
        "write the metrics of each run to this .prom file, for node_exporter's textfile collector",
    )

    packs: tuple[PackRef, ...] = ()
    """The packs that the environment names, sorted; empty without `with_packs`."""
    faults: tuple[str, ...] = ()
    """The errors of the environment, one line each; empty after `load`."""

    def read_token(self) -> str:
        """Return the SAS token, read from its file again at each call. Raises `UsageError` if there is no token."""
        if not (self.token_file or self.token):
            anonymous = "" if is_azure(self.url) else ", or set MODELS_ANONYMOUS=yes if the server needs no token"
            raise UsageError(
                "MODELS_SAS_TOKEN is not set; put the SAS token there, or its file's path into MODELS_SAS_TOKEN_FILE"
                f"{anonymous}"
            )
        text = _read_file("MODELS_SAS_TOKEN_FILE", self.token_file, "token") if self.token_file else self.token
        token = SasToken.make(text).query
        register(text)
        register(token)
        return token

    @property
    def requires_signatures(self) -> bool:
        """Return True if a public key is set, so that manifests may come from any source."""
        return bool(self.public_keys or self.public_key_file)

    def read_registry_password(self) -> tuple[str, str]:
        """Return the password of the registry's user and the variable it is from; its file is read at each call.

        Raises `UsageError`: there is no password.
        """
        if self.registry_password_file:
            variable = "MODELS_REGISTRY_PASSWORD_FILE"
            password = _read_file(variable, self.registry_password_file, "password")
            register(password)
            return password, variable
        if not self.registry_password:
            raise UsageError(
                "MODELS_REGISTRY_USERNAME is set without a password; put it into MODELS_REGISTRY_PASSWORD, or its "
                "file's path into MODELS_REGISTRY_PASSWORD_FILE"
            )
        register(self.registry_password)
        return self.registry_password, "MODELS_REGISTRY_PASSWORD"

    def read_public_keys(self) -> tuple[PublicKey, ...]:
        """Return the keys that packs must be signed by: those of the variable and of the file; none if neither is set.

        Raises `UsageError` for a file that cannot be read or contains no key, so that it is never ignored.
        """
        if not self.public_key_file:
            return self.public_keys
        text = _read_file("MODELS_PUBLIC_KEY_FILE", self.public_key_file, "publisher's public keys")
        try:
            in_file = public_keys(text)
        except ValueError as error:
            raise UsageError(f"MODELS_PUBLIC_KEY_FILE={self.public_key_file} {error}") from error
        return tuple(dict.fromkeys(self.public_keys + in_file))


def _read_file(variable: str, path: str, content: str) -> str:
    """Return the text of a file that a setting names. Raises `UsageError`."""
    try:
        return decode_text(Path(path).read_bytes()).strip()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8 or UTF-16, or a path with a NUL
        raise UsageError(_unreadable(variable, path, content, error)) from error


def _unreadable(variable: str, path: str, content: str, error: Exception) -> str:
    reason = getattr(error, "strerror", "") or "it is not text"
    return (
        f"{variable}={escaped(path)} cannot be read: {reason}; set it to the file that contains the {content}, and let "
        f"user {os.geteuid()} read it"
    )


# -- values derived from the declarations


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as declared, for the command line, the documentation and tests."""

    variable: str
    flag: str | None
    default: str
    help: str


def _declared() -> Iterator[Setting]:
    for field in Settings.model_fields.values():
        if isinstance(field.json_schema_extra, dict):
            flag = field.json_schema_extra["flag"]
            yield Setting(
                variable=str(field.validation_alias),
                flag=flag if isinstance(flag, str) else None,
                default=field.default,
                help=field.description or "",
            )


SETTINGS = tuple(_declared())


# -- from an environment to settings


def load(environment: Mapping[str, str], *, with_packs: bool) -> Settings:
    """Return the settings of environment variables. Raises one `UsageError` with all faults.

    With `with_packs`, an environment that names no packs is a fault, because the action needs packs.
    """
    settings = read(environment, with_packs=with_packs)
    if settings.faults:
        raise UsageError(*settings.faults)
    return settings


def read(environment: Mapping[str, str], *, with_packs: bool) -> Settings:
    """Return the settings as `load` does, but with defaults for invalid values, and with all faults in `faults`."""
    stripped = {setting.variable: environment.get(setting.variable, "").strip() for setting in SETTINGS}
    given = {variable: text for variable, text in stripped.items() if text}
    invalid = _invalid(given)
    settings = Settings.model_validate({name: text for name, text in given.items() if name not in invalid})
    faults = [_fault(variable, given[variable], reason) for variable, reason in invalid.items()]
    if with_packs:
        faults += [*_missing(settings, invalid), *_duplicates(settings)]
    faults += _contradictions(settings)
    if faults:
        faults += _unreadable_files(settings)
    packs = _packs(settings) if with_packs else ()
    return settings.model_copy(update={"packs": packs, "faults": tuple(dict.fromkeys(map(redact, faults)))})


def _fault(variable: str, text: str, reason: str) -> str:
    return f"{variable}={escaped(text)}{'' if reason.startswith(':') else ' '}{reason}"


def _invalid(given: Mapping[str, str]) -> dict[str, str]:
    """Return, by variable, the reason why each invalid value is rejected."""
    reasons: dict[str, str] = {}
    try:
        Settings.model_validate(given)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False, include_input=False)
        reasons = {str(error["loc"][0]): str(error["ctx"]["error"]) for error in errors}
    return reasons | _literal_mistakes(given)


def _literal_mistakes(given: Mapping[str, str]) -> dict[str, str]:
    """Return the reasons of `check_literal`. A token is cleaned by `SasToken.make`; a password may be any text."""
    reasons = {}
    for variable, text in given.items():
        try:
            if variable not in {"MODELS_SAS_TOKEN", "MODELS_REGISTRY_PASSWORD"}:
                values.check_literal(text)
        except ValueError as error:
            reasons[variable] = str(error)
    return reasons


def _missing(settings: Settings, invalid: Collection[str]) -> list[str]:
    """Return a fault for each variable that must be set and is not; invalid values are reported separately."""
    version = "the version that your license names, e.g. 2026.04"
    languages = settings.languages or settings.language
    unset = {}
    if not settings.language_version and not (languages and all(own for _, own in languages)):
        unset["REALTIME_LANGUAGE_VERSION"] = version
    if not languages and "REALTIME_LANGUAGE" not in invalid:
        unset["REALTIME_LANGUAGES"] = "the languages to install, e.g. nl-nl or nl-nl,en-us"
    if not settings.common_version:
        unset["REALTIME_COMMON_VERSION"] = version
    return [f"{name} is not set; set it to {example}" for name, example in unset.items() if name not in invalid]


def _duplicates(settings: Settings) -> Iterator[str]:
    languages = _languages_with_versions(settings)
    first = dict(reversed(languages))
    for name, version in languages:
        if version and first[name] and version != first[name]:
            yield f"REALTIME_LANGUAGES names {name} twice, as {first[name]} and as {version}; keep one"


def _packs(settings: Settings) -> tuple[PackRef, ...]:
    """Return the languages, `common`, and the whisper variant, if any; of a language named twice, the first counts."""
    wanted = dict(reversed(_languages_with_versions(settings)))
    wanted["common"] = settings.common_version
    if settings.whisper_variant:
        wanted[f"whisper-{settings.whisper_variant}"] = settings.whisper_version or settings.common_version
    return tuple(sorted(PackRef(name, version) for name, version in wanted.items()))


def _languages_with_versions(settings: Settings) -> list[tuple[str, str]]:
    languages = settings.languages or settings.language
    return [(name, version or settings.language_version) for name, version in languages]


def _unreadable_files(settings: Settings) -> Iterator[str]:
    """Return a fault for each named file that cannot be read, so that it is reported together with other faults.

    Without other faults, an unreadable file is an error only when it is needed; a run with nothing to do needs none.
    """
    files = {
        "MODELS_CA_FILE": (settings.ca_file, "CA certificates to trust"),
        "MODELS_SAS_TOKEN_FILE": (settings.token_file, "token"),
        "MODELS_PUBLIC_KEY_FILE": (settings.public_key_file, "publisher's public keys"),
    }
    for variable, (path, content) in files.items():
        try:
            with open(path or os.devnull, "rb"):
                pass
        except (OSError, ValueError) as error:
            yield _unreadable(variable, path, content, error)


def _contradictions(settings: Settings) -> Iterator[str]:
    if sends_unencrypted(settings.url) and not settings.allow_http:
        risk = "would fetch packs unencrypted" if settings.anonymous else "would send the token unencrypted"
        yield (f"MODELS_URL={settings.url} {risk}; use https, or set MODELS_ALLOW_HTTP=yes if the network is trusted")
    if lacks_container(settings.url) and not settings.anonymous:
        yield (
            f"MODELS_URL={settings.url} names no container; add its name, or set MODELS_ANONYMOUS=yes for a web server "
            "that needs no token"
        )
    if settings.url.rstrip("/") in {mirror.rstrip("/") for mirror in settings.mirrors}:
        yield "MODELS_MIRRORS names MODELS_URL, too, which is tried after the mirrors anyway; remove it there"
    if settings.anonymous and (settings.token or settings.token_file):
        yield "MODELS_ANONYMOUS=yes contradicts the SAS token that is set; remove one of them"
    if (settings.registry_password or settings.registry_password_file) and not settings.registry_user:
        yield "MODELS_REGISTRY_USERNAME is not set; set it to the user of the registry that the password belongs to"
