"""The compose files: each combination is valid, and repeated values are equal."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from models_init.cli.compose_overlay import overlay
from models_init.cli.settings import SETTINGS, load
from tests.container.daemon import program, require_compose
from tests.container.images import ROOT
from tests.container.site import BUCKET, ENGINE, INIT, LANGUAGES, LEGACY, LEGACY_INITS, ONPREM, SECRET

if TYPE_CHECKING:
    from pathlib import Path

_DIRECTORY = ROOT / "deploy/compose"
_ONPREM = ROOT / "tests/container/fixtures" / ONPREM
_EXAMPLE = ".env.onprem.example"
_EXCLUDED = {
    "MODELS_DIR": "compose mounts the volume at the default path",
    "MODELS_TERMINATION_LOG": "only Kubernetes reads it",
}
"""Settings that the example leaves out, with the reason."""
_OPTIONAL = (SECRET, LANGUAGES)
_COMBINATIONS = [chosen for count in range(len(_OPTIONAL) + 1) for chosen in itertools.combinations(_OPTIONAL, count)]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A customer's directory with an overlay for two languages."""
    shutil.copytree(_DIRECTORY, tmp_path / "site")
    shutil.copy(_ONPREM, tmp_path / "site")
    (tmp_path / "site" / LANGUAGES).write_text(overlay(["en-us", "nl-nl"]))
    return tmp_path / "site"


def config(directory: Path, *overlays: str, env_file: str = _EXAMPLE, first: str = BUCKET) -> dict[str, Any]:
    """Return the configuration that compose derives from the files, without this process's environment."""
    docker = program("docker")
    require_compose(docker)
    files = [word for file in (ONPREM, first, *overlays) for word in ("-f", file)]
    command = [docker, "compose", *files, "--env-file", env_file, "config", "--format", "json"]
    done = subprocess.run(command, cwd=directory, env={"PATH": "/usr/bin"}, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("overlays", _COMBINATIONS, ids=lambda overlays: "+".join(overlays) or "bucket alone")
def test_each_combination_of_files_is_valid(directory: Path, overlays: tuple[str, ...]) -> None:
    """Compose accepts it with the example as env file; the engine waits for init with any overlay."""
    services = config(directory, *overlays)["services"]
    engines = [name for name in services if name.startswith(ENGINE)]
    assert len(engines) == (3 if LANGUAGES in overlays else 1)
    for name in engines:
        assert services[name]["depends_on"][INIT]["condition"] == "service_completed_successfully"
    environment = services[INIT]["environment"]
    assert ("MODELS_SAS_TOKEN_FILE" in environment) == (SECRET in overlays)


def test_legacy_overlay_differs_only_in_its_two_services_and_their_source(directory: Path) -> None:
    """Each equals the service of the other overlay, except for source, time limit for the lock, and memory limit."""
    bucket, legacy = config(directory)["services"], config(directory, first=LEGACY)["services"]
    assert legacy.keys() == bucket.keys() - {INIT} | set(LEGACY_INITS)
    changes = {"MODELS_URL": "oci://scriptixrt.azurecr.io/asr", "MODELS_LOCK_SECONDS": "86400"}
    wanted = {**bucket[INIT], "environment": {**bucket[INIT]["environment"], **changes}, "mem_limit": str(320 << 20)}
    assert [legacy[name] for name in LEGACY_INITS] == [wanted, wanted]
    waits = legacy[ENGINE].pop("depends_on")
    assert {name: waits[name]["condition"] for name in waits} == dict.fromkeys(
        LEGACY_INITS, "service_completed_successfully"
    )
    assert legacy[ENGINE] == {name: value for name, value in bucket[ENGINE].items() if name != "depends_on"}


def test_legacy_overlay_accepts_another_source(directory: Path) -> None:
    (directory / ".env").write_text("MODELS_URL=oci://mirror.example/models\nREALTIME_REGISTRY=other.example/asr\n")
    environment = config(directory, env_file=".env", first=LEGACY)["services"][LEGACY_INITS[0]]["environment"]
    assert environment["MODELS_URL"] == "oci://mirror.example/models"
    (directory / ".env").write_text("REALTIME_REGISTRY=other.example/asr\n")
    environment = config(directory, env_file=".env", first=LEGACY)["services"][LEGACY_INITS[1]]["environment"]
    assert environment["MODELS_URL"] == "oci://other.example/asr"


def test_init_is_confined_and_not_restarted(directory: Path) -> None:
    """Read-only root, no capabilities, no new privileges, limited memory and logs, no restart after a failure."""
    init = config(directory)["services"][INIT]
    assert (init["read_only"], init["cap_drop"], init["restart"]) == (True, ["ALL"], "no")
    assert init["security_opt"] == ["no-new-privileges:true"]
    assert (init["mem_limit"], init["logging"]["options"]) == (str(192 << 20), {"max-size": "10m", "max-file": "3"})


def test_env_example_has_every_setting_with_its_default() -> None:
    """Each declared setting is excluded for a reason, or has a line with a comment that names its default if empty."""
    lines = re.findall(r"(?m)^# (.+)\n([A-Z_]+)=(.*)$", (_DIRECTORY / _EXAMPLE).read_text())
    example = {variable: (comment, value) for comment, variable, value in lines}
    declared = {setting.variable: setting for setting in SETTINGS}
    assert len(example) == len(lines), "a setting has two lines"
    assert declared.keys() - example.keys() == _EXCLUDED.keys()
    for variable in declared.keys() & example.keys():
        (comment, value), default = example[variable], declared[variable].default
        assert value or not default or f"empty: {default}" in comment, variable


def test_env_example_is_valid() -> None:
    """The values in the example are valid settings that name packs; the token's file is the host's, for compose."""
    found = dict(re.findall(r"(?m)^([A-Z_]+)=(.*)$", (_DIRECTORY / _EXAMPLE).read_text()))
    del found["MODELS_SAS_TOKEN_FILE"]
    assert load(found, with_packs=True).url.startswith("https://")


def test_every_setting_in_the_env_file_reaches_the_container(directory: Path) -> None:
    """A value that is set in the env file is in the environment of the init container."""
    variables = {setting.variable for setting in SETTINGS} - _EXCLUDED.keys()
    (directory / ".env").write_text("".join(f"{variable}=changed\n" for variable in sorted(variables)))
    environment = config(directory, env_file=".env")["services"][INIT]["environment"]
    reached = {
        name for name, value in environment.items() if value in ("changed", "/site/changed", "/platform/changed")
    }
    assert reached == variables - {"MODELS_SAS_TOKEN_FILE"}


def test_proxy_is_passed_on_only_if_it_is_set(directory: Path) -> None:
    """An empty variable would hide the proxy of Docker's own configuration."""
    (directory / ".env").write_text("HTTPS_PROXY=http://proxy.example:3128\n")
    assert config(directory, env_file=".env")["services"][INIT]["environment"]["HTTPS_PROXY"].endswith(":3128")
    assert config(directory)["services"][INIT]["environment"]["HTTPS_PROXY"] is None


def test_each_variable_of_the_files_is_in_the_example() -> None:
    texts = [path.read_text() for path in _DIRECTORY.glob("*.yml")] + [overlay(["nl-nl"])]
    asked = {name for text in texts for name in re.findall(r"\$\{([A-Z_]+)", text)}
    assert asked - set(re.findall(r"(?m)^([A-Z_]+)=", (_DIRECTORY / _EXAMPLE).read_text())) == set()


def test_token_in_a_secret_is_not_in_the_configuration(directory: Path) -> None:
    """This holds even if the env file still contains the token."""
    (directory / ".env").write_text("MODELS_SAS_TOKEN=sig=canary\n")
    assert "canary" not in json.dumps(config(directory, SECRET, env_file=".env"))
    assert "canary" in json.dumps(config(directory, env_file=".env"))
