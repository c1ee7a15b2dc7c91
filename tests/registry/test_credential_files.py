"""The credential files of docker, podman and Kubernetes."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from models_init.core.errors import UsageError
from models_init.sources.oci.credential_files import RegistryCredentials, find_credentials

if TYPE_CHECKING:
    from pathlib import Path

HOST, REPOSITORY = "registry.example:5000", "team/models/nl-nl"
_AUTH = base64.b64encode(b"user:pass:word").decode()


def _write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def _found(path: Path, content: Any) -> RegistryCredentials | None:
    return find_credentials(HOST, REPOSITORY, {"REGISTRY_AUTH_FILE": str(_write(path, content))})


@pytest.mark.parametrize(
    "address",
    [
        HOST,
        f"http://{HOST}",
        f"https://{HOST}/v2/",
        f"https://{HOST}/v1/",
        f"{HOST}/team",
        f"{HOST}/team/models",
        f"{HOST}/{REPOSITORY}",
    ],
)
def test_all_spellings_of_the_address_are_found(tmp_path: Path, address: str) -> None:
    found = _found(tmp_path / "auth.json", {"auths": {address: {"auth": _AUTH}}})
    assert found
    assert (found.user, found.password) == ("user", "pass:word")
    assert "pass:word" not in repr(found)


@pytest.mark.parametrize(
    "address", ["registry.example", "registry.example:5001", f"{HOST}/tea", f"{HOST}/team/models/nl", "other.example"]
)
def test_other_addresses_are_not_found(tmp_path: Path, address: str) -> None:
    assert _found(tmp_path / "auth.json", {"auths": {address: {"auth": _AUTH}}}) is None


def test_longest_matching_path_wins(tmp_path: Path) -> None:
    entries = {
        HOST: {"username": "whole", "password": "registry"},
        f"{HOST}/team/models": {"username": "nearest", "password": "path"},
        f"{HOST}/team": {"username": "middle", "password": "path"},
    }
    found = _found(tmp_path / "auth.json", {"auths": entries})
    assert found
    assert found.user == "nearest"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"username": "user", "password": "pass"}, ("user", "pass", "")),
        ({"auth": _AUTH, "email": "x@example"}, ("user", "pass:word", "")),
        ({"auth": base64.b64encode(b"user:padded\0\0").decode()}, ("user", "padded", "")),
        ({"auth": _AUTH, "identitytoken": "refresh"}, ("user", "", "refresh")),
        ({"username": "<token>", "password": "refresh"}, ("<token>", "", "refresh")),
    ],
)
def test_all_kinds_of_entries_are_read(tmp_path: Path, entry: dict[str, str], expected: tuple[str, str, str]) -> None:
    found = _found(tmp_path / "auth.json", {"auths": {HOST: entry}})
    assert found
    assert (found.user, found.password, found.identity) == expected


def test_files_are_searched_in_documented_order(tmp_path: Path) -> None:
    environment = {
        "REGISTRY_AUTH_FILE": str(tmp_path / "first.json"),
        "DOCKER_CONFIG": str(tmp_path / "docker"),
        "XDG_RUNTIME_DIR": str(tmp_path / "run"),
        "HOME": str(tmp_path / "home"),
    }
    files = [
        tmp_path / "first.json",
        tmp_path / "docker/config.json",
        tmp_path / "docker/.dockerconfigjson",
        tmp_path / "run/containers/auth.json",
        tmp_path / "home/.config/containers/auth.json",
        tmp_path / "home/.docker/config.json",
    ]
    for number, path in enumerate(files):
        _write(path, {"auths": {HOST: {"username": f"user {number}", "password": "pass"}}})
    order = []
    for path in files:
        found = find_credentials(HOST, REPOSITORY, environment)
        assert found
        order.append(found.user)
        _write(path, {})
    assert order == [f"user {number}" for number in range(len(files))]
    assert find_credentials(HOST, REPOSITORY, environment) is None


@pytest.mark.parametrize(
    "content",
    [
        {"auths": {HOST: {}}, "credsStore": "desktop"},
        {"credHelpers": {HOST: "desktop"}},
        {"auths": {"other.example": {}}, "credHelpers": {HOST: "desktop"}},
    ],
)
def test_credential_helper_is_named_with_settings_to_use(tmp_path: Path, content: Any) -> None:
    with pytest.raises(UsageError, match=r"docker-credential-desktop.*; set MODELS_REGISTRY_USERNAME and"):
        _found(tmp_path / "config.json", content)


def test_entry_with_password_wins_over_helper(tmp_path: Path) -> None:
    assert _found(tmp_path / "config.json", {"auths": {HOST: {"auth": _AUTH}}, "credsStore": "desktop"})


def test_helper_of_other_registries_is_ignored(tmp_path: Path) -> None:
    content = {"auths": {"other.example": {}}, "credsStore": "desktop", "credHelpers": {"third.example": "x"}}
    assert _found(tmp_path / "config.json", content) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a credential file"),
        (json.dumps({"auths": {HOST: {"auth": "?"}}}), "is not user:password in base64"),
        (json.dumps({"auths": {HOST: {"auth": base64.b64encode(b"nocolon").decode()}}}), "is not user:password"),
    ],
)
def test_invalid_file_is_reported(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "auth.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=words) as refused:
        find_credentials(HOST, REPOSITORY, {"REGISTRY_AUTH_FILE": str(path)})
    assert str(path) in str(refused.value)


def test_missing_file_of_a_variable_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"REGISTRY_AUTH_FILE=.* does not exist"):
        find_credentials(HOST, REPOSITORY, {"REGISTRY_AUTH_FILE": str(tmp_path / "none.json")})
