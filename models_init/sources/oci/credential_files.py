"""Find the user and the password of a registry in the credential files of docker, podman and Kubernetes.

The order of the files is that of containers-auth.json(5), with docker's variable before the defaults. In a file, the
entry whose address matches the longest part of the repository's name applies, as in podman. This program does not run
credential helpers; its error message names the setting to use instead.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_init.core.errors import UsageError
from models_init.core.redaction import register

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILE_LIMIT = 1 << 20  # bytes
_SET_INSTEAD = "set MODELS_REGISTRY_USERNAME and MODELS_REGISTRY_PASSWORD or MODELS_REGISTRY_PASSWORD_FILE"
_TOKEN_USER = "<token>"  # noqa: S105 - the user name by which docker marks an identity token


@dataclass(frozen=True, slots=True)
class RegistryCredentials:
    """A user with a password, or an identity token that is exchanged for access tokens.

    `origin` names their file or setting, for messages. The repr contains no secret.
    """

    user: str
    password: str
    identity: str = ""
    origin: str = ""

    def __repr__(self) -> str:
        return f"RegistryCredentials({self.user!r}, origin={self.origin!r})"

    def basic(self) -> str:
        """Return the value of the header `Authorization` for HTTP Basic."""
        encoded = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        register(encoded)
        return f"Basic {encoded}"


def find_credentials(registry: str, repository: str, environment: Mapping[str, str]) -> RegistryCredentials | None:
    """Return the credentials for `registry` (`host:port`) from the first file that contains any, or None.

    Raises `UsageError`: a file is unreadable or invalid, or names a credential helper.
    """
    for variable, path in _candidates(environment):
        content = _content(path, variable)
        if content is not None and (found := _in_file(content, f"{registry}/{repository}", path)):
            register(found.password)
            register(found.identity)
            return found
    return None


def _candidates(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    """Yield the files in their order, each with the variable that names it, or an empty string."""
    home = Path(environment.get("HOME") or "/")
    if path := environment.get("REGISTRY_AUTH_FILE"):
        yield "REGISTRY_AUTH_FILE", Path(path)
    if directory := environment.get("DOCKER_CONFIG"):
        yield from (("", Path(directory) / name) for name in ("config.json", ".dockerconfigjson"))
    if directory := environment.get("XDG_RUNTIME_DIR"):
        yield "", Path(directory) / "containers/auth.json"
    yield "", home / ".config/containers/auth.json"
    yield "", home / ".docker/config.json"


def _content(path: Path, variable: str) -> dict[str, Any] | None:
    """Return a file's content, or None if it does not exist; a file that a variable names must exist."""
    name = f"{variable}={path}" if variable else f"the credential file {path}"
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(_FILE_LIMIT) or b"{}")
    except (FileNotFoundError, NotADirectoryError):
        if variable:
            raise UsageError(f"{name} does not exist; name the credential file, or unset {variable}") from None
        return None
    except OSError as error:
        raise UsageError(f"{name} cannot be read: {error.strerror}; check its permissions, or {_SET_INSTEAD}") from None
    except (ValueError, RecursionError):
        raise UsageError(f"{name} is not JSON; log in again, or {_SET_INSTEAD}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{name} is not a credential file of docker or podman; log in again, or {_SET_INSTEAD}")
    return content


def _in_file(content: dict[str, Any], place: str, path: Path) -> RegistryCredentials | None:
    """Return the credentials for `place` (`host:port/repository`). A helper counts only if no entry has a password."""
    helpers = _section(content, "credHelpers")
    for address, entry in _matching(_section(content, "auths"), place):
        if found := _entry(entry, f"{path} (entry {address})"):
            return found
    host = place.partition("/")[0]
    named = next((str(helper) for _, helper in _matching(helpers, host)), "")
    if not named and isinstance(content.get("credsStore"), str) and _matching(_section(content, "auths"), place):
        named = content["credsStore"]
    if named:
        raise UsageError(
            f"{path} keeps the password of {host} in the credential helper docker-credential-{named}, which this "
            f"program does not run; {_SET_INSTEAD}"
        )
    return None


def _section(content: dict[str, Any], name: str) -> dict[str, Any]:
    section = content.get(name)
    return section if isinstance(section, dict) else {}


def _matching(entries: dict[str, Any], place: str) -> list[tuple[str, Any]]:
    """Return the entries whose address is `place` or a parent of it, the longest first."""
    found = [(address, entry) for address, entry in entries.items() if f"{place}/".startswith(f"{_plain(address)}/")]
    return sorted(found, key=lambda pair: -len(_plain(pair[0])))


def _plain(address: str) -> str:
    """Return an address without the scheme, and without the API version that older versions of docker wrote."""
    address = address.removeprefix("https://").removeprefix("http://").rstrip("/")
    if address == "index.docker.io/v1":
        return "docker.io"
    return address.removesuffix("/v2").removesuffix("/v1")


def _entry(entry: Any, origin: str) -> RegistryCredentials | None:
    """Parse one entry: `identitytoken`, `username` with `password`, or `auth`. Return None if it is empty."""
    if not isinstance(entry, dict):
        return None
    user, password = entry.get("username"), entry.get("password")
    if isinstance(entry.get("auth"), str) and entry["auth"] and not password:
        user, password = _decoded(entry["auth"], origin)
    if isinstance(identity := entry.get("identitytoken"), str) and identity:
        return RegistryCredentials(str(user or ""), "", identity, origin)
    if not isinstance(user, str) or not isinstance(password, str) or not user:
        return None
    if user == _TOKEN_USER:
        return RegistryCredentials(user, "", password, origin)
    return RegistryCredentials(user, password, "", origin)


def _decoded(auth: str, origin: str) -> tuple[str, str]:
    try:
        user, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        colon = ""
    if not colon:
        raise UsageError(f"the field auth in {origin} is not user:password in base64; log in again, or {_SET_INSTEAD}")
    return user, password.rstrip("\0")
