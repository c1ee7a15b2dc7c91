"""A customer's directory for `docker compose`: the product's compose file, this project's overlays, the env file."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import DEVNULL
from typing import TYPE_CHECKING, Any

from tests.container.images import BASE, REGISTRY, ROOT

if TYPE_CHECKING:
    from subprocess import Popen

    from tests.container.daemon import CommandResult, Docker
    from tests.services.azurite import Azurite

INIT = "realtime-models-init"
ENGINE = "asr-server"
BUCKET = "docker-compose.realtime.bucket.yml"
SECRET = "docker-compose.realtime.secret.yml"
LANGUAGES = "docker-compose.realtime.languages.yml"
ONPREM = "docker-compose.onprem.yml"
HOST_NETWORK = "docker-compose.host.yml"
NO_NETWORK = "docker-compose.offline.yml"
TIGHT = "docker-compose.tight.yml"

LEGACY = "docker-compose.realtime.yml"
LEGACY_HOST_NETWORK = "docker-compose.legacy-host.yml"
LEGACY_INITS = ("asr-models-init", "asr-common-init")

_COMPOSE = ROOT / "deploy/compose"
_FIXTURES = Path(__file__).parent / "fixtures"
_IMAGES = {
    "REALTIME_REGISTRY": REGISTRY,
    "REALTIME_IMAGE_TAG": "dev",
    "MODELS_INIT_TAG": "dev",
    "REALTIME_GATEWAY_IMAGE": BASE,
}
FIRST = {
    "REALTIME_LANGUAGES": "nl-nl",
    "REALTIME_LANGUAGE": "nl-nl",
    "REALTIME_LANGUAGE_VERSION": "2026.04",
    "REALTIME_COMMON_VERSION": "2026.04",
}
"""The settings of the first Dutch release."""


@dataclass
class ContainerSite:
    """One installation; `files` are the compose files that every command is given."""

    docker: Docker
    directory: Path
    files: list[str] = field(default_factory=lambda: [ONPREM, BUCKET, HOST_NETWORK])
    settings: dict[str, str] = field(default_factory=lambda: dict(_IMAGES))

    def __post_init__(self) -> None:
        """Fill the directory as docs/deploy-compose.md says."""
        shutil.copytree(_COMPOSE, self.directory)
        for path in _FIXTURES.glob("*.yml"):
            shutil.copy(path, self.directory)
        (self.directory / "config").mkdir()
        (self.directory / "config/license.dat").write_text("a license\n")
        self.set()

    @property
    def project(self) -> str:
        """The project name, from which compose derives names of containers and volumes."""
        return re.sub("[^a-z0-9]", "", self.directory.parent.name.lower())

    @property
    def volume(self) -> Path:
        """The directory of the volume on this machine."""
        return Path(self.docker.inspect(f"{self.project}_models", "volume")["Mountpoint"])

    def set(self, **settings: str) -> None:
        """Write the env file with these settings changed."""
        self.settings |= settings
        text = "".join(f"{name}={value}\n" for name, value in self.settings.items())
        (self.directory / ".env.onprem").write_text(text)

    def use(self, bucket: Azurite, token: str | None = None, **settings: str) -> None:
        """Point the env file at a bucket; without settings, at the first Dutch release."""
        token = bucket.sas() if token is None else token
        self.set(**FIRST | {"MODELS_URL": bucket.container_url, "MODELS_SAS_TOKEN": token} | settings)

    def command(self, *arguments: str) -> list[str]:
        """Return the arguments of `docker compose ARGUMENTS`, as a customer types them."""
        files = [word for file in self.files for word in ("-f", file)]
        return ["compose", *files, "--env-file", ".env.onprem", "--ansi", "never", *arguments]

    @property
    def surroundings(self) -> dict[str, Any]:
        """The working directory and the variables of a command."""
        return {"cwd": self.directory, "more": {"COMPOSE_PROJECT_NAME": self.project}}

    def try_compose(self, *arguments: str) -> CommandResult:
        """Run `docker compose ARGUMENTS` and return the result, also of a failure."""
        return self.docker.try_run(*self.command(*arguments), **self.surroundings)

    def compose(self, *arguments: str, **more: Any) -> str:
        """Run `docker compose ARGUMENTS` and return its output."""
        return self.docker.run(*self.command(*arguments), **self.surroundings, **more)

    def run_init(self, *arguments: str) -> str:
        """Run `docker compose run --rm realtime-models-init ARGUMENTS`; return its stdout."""
        return self.compose("run", "--rm", "-T", INIT, *arguments, stderr=DEVNULL)

    def starting(self) -> Popen[str]:
        """Start `docker compose up` and return its process."""
        return self.docker.start(*self.command("up", "--detach"), **self.surroundings)

    def container(self, service: str = INIT) -> dict[str, Any]:
        """Return the result of `docker inspect` for a service's container."""
        return self.docker.inspect(f"{self.project}-{service}-1")

    def log(self, service: str = INIT) -> list[str]:
        """Return all lines of a service's log."""
        text = self.compose("logs", "--no-log-prefix", "--no-color", service)
        return text.replace("\x1b[2K", "").splitlines()  # which compose 2.26 always writes

    def config(self, *arguments: str) -> dict[str, Any]:
        """Return the configuration that compose derives from the files."""
        config: dict[str, Any] = json.loads(self.compose("config", "--format", "json", *arguments))
        return config

    def address(self, service: str = ENGINE) -> str:
        """Return HOST:PORT at which containers and this machine reach a service."""
        networks = self.container(service)["NetworkSettings"]["Networks"]
        return f"{networks[f'{self.project}_default']['IPAddress']}:8890"

    def close(self) -> None:
        """Remove the containers, the network, the volume."""
        self.try_compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "1")
