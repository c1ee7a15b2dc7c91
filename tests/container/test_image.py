"""The image: its content, how it can be confined, reproducible builds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

import models_init
from tests import services
from tests.container import base, images
from tests.signing.vendor import KEY, OTHER, build_signed_packs
from tests.tokens import token

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.container.daemon import Docker

_CONFINED = (
    "--rm", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--network=none",
    "--volume=/dev/null:/usr/bin/dash:ro", "--volume=/dev/null:/usr/bin/bash:ro",
)  # fmt: skip
_MIB = 1 << 20


def test_image_runs_confined(docker: Docker, image: str) -> None:
    """The image works without a shell, capabilities and a writable root."""
    assert docker.run("run", *_CONFINED, image, "--version", stderr=subprocess.DEVNULL) == (
        f"models-init {models_init.__version__}"
    )


def test_limit_on_processes_is_explained(docker: Docker, image: str) -> None:
    """Without any thread, the message names the limit; with a few threads a run continues."""
    settings = {
        "REALTIME_LANGUAGES": "nl-nl", "REALTIME_LANGUAGE_VERSION": "1", "REALTIME_COMMON_VERSION": "1",
        "MODELS_URL": "http://127.0.0.1:9/account/container", "MODELS_RETRY_SECONDS": "0.01",
        "MODELS_SAS_TOKEN": token(), "MODELS_LOG_LEVEL": "error",
    }  # fmt: skip
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    none = docker.try_run("run", "--rm", "--network=none", "--pids-limit=1", *variables, image)
    assert none.code == 2, none.text
    assert "no further thread can be started: the control group may have 1 processes and threads" in none.text
    few = docker.try_run("run", "--rm", "--network=none", "--pids-limit=8", *variables, image)
    assert few.code == 20, few.text


def test_termination_log_is_written_in_a_confined_container(docker: Docker, image: str, tmp_path: Path) -> None:
    """The file is mounted as a kubelet does: writable for all users, and empty."""
    log = tmp_path / "termination-log"
    log.touch()
    log.chmod(0o666)
    mounted = [f"--volume={log}:/dev/termination-log", "--env=MODELS_TERMINATION_LOG=/dev/termination-log"]
    done = docker.try_run("run", *_CONFINED, *mounted, "--env=REALTIME_LANGUAGES=nl-nl@1", image)
    assert done.code == 2
    assert (
        log.read_text()
        == "REALTIME_COMMON_VERSION is not set; set it to the version that your license names, e.g. 2026.04"
    )


def test_image_contains_only_the_needs_of_a_site(docker: Docker, image: str, figure: Callable[[str], None]) -> None:
    """The image has the packages of requirements.lock, neither pip nor models-pack, labels, a user, and no volume."""
    found = docker.inspect(image, "image")
    config, size = found["Config"], found["Size"]
    labels = {name.rpartition(".")[2]: value for name, value in config["Labels"].items()}
    assert (labels["title"], labels["version"]) == ("models-init", models_init.__version__)
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?|unknown", labels["revision"])
    assert (config["User"], config.get("Volumes"), config.get("Healthcheck")) == ("10001:10001", None, None)
    ours = size - docker.inspect(images.BASE, "image")["Size"]
    figure(f"image {size / _MIB:.0f} MiB, of which {ours / _MIB:.0f} MiB are ours")

    files = docker.run(
        "run", *_CONFINED, "--entrypoint=find", image, "/opt/models-init", "-type", "f", stderr=subprocess.DEVNULL
    )
    installed = {re.sub("-.*", "", name) for name in re.findall(r"site-packages/([^/]+)\.dist-info/METADATA", files)}
    locked = set(re.findall(r"(?m)^([\w-]+)==[^;\n]*\\$", (images.ROOT / "requirements.lock").read_text()))
    assert {name.replace("_", "-") for name in installed} - locked == set()
    assert "/models_init/cli/main.py" in files
    assert "/models_init/publish/" not in files


def test_image_verifies_signatures(docker: Docker, image: str, tmp_path: Path) -> None:
    """With a public key set, signed packs are installed and others are refused with 13."""
    signed_packs = build_signed_packs(tmp_path)
    for key, code in ((KEY, 0), (OTHER, 13)):
        site = signed_packs.site(tmp_path, key).but(MODELS_URL="file:///source")
        variables = [f"--env={name}={value}" for name, value in site.environment.items()]
        done = docker.try_run(
            "run", *_CONFINED, f"--volume={signed_packs.directory}:/source:ro", *variables, image, "--plan"
        )
        assert done.code == code, done.text


def test_all_modules_of_a_start_are_compiled(docker: Docker, image: str) -> None:
    """This includes the modules of a start that connects to a source."""
    settings = {
        "REALTIME_LANGUAGES": "nl-nl", "REALTIME_LANGUAGE_VERSION": "1", "REALTIME_COMMON_VERSION": "1",
        "MODELS_URL": "http://127.0.0.1:9/nobody/listens", "MODELS_RETRY_SECONDS": "0.01",
        "MODELS_SAS_TOKEN": "sv=2024-11-04&se=2099-01-01T00:00:00Z&sr=c&sp=rl&sig=" + "A" * 43 + "%3D",
        "PYTHONDONTWRITEBYTECODE": "",
    }  # fmt: skip
    variables = [f"--env={name}={value}" for name, value in settings.items()]
    done = docker.try_run("run", "--name=compiling", "--user=0", "--network=none", *variables, image)
    try:
        changed = docker.run("diff", "compiling").splitlines()
    finally:
        docker.run("rm", "compiling")
    assert done.code == 20, done.text
    assert [line for line in changed if line.endswith(".pyc")] == []


@pytest.fixture
def buildah(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of buildah with a separate storage that contains the base image."""
    services.require_root()
    services.require_tool("buildah")
    storage = f'[storage]\ndriver = "overlay"\ngraphroot = "{tmp_path}/storage"\nrunroot = "{tmp_path}/run"\n'
    (tmp_path / "storage.conf").write_text(storage)
    environment = os.environ | {
        "CONTAINERS_STORAGE_CONF": str(tmp_path / "storage.conf"),
        "BUILDAH_ISOLATION": "chroot",
    }
    container = _buildah(environment, "from", "scratch")
    _buildah(environment, "add", container, str(base.tarball()), "/")
    _buildah(environment, "config", "--env", images.PATH, container)
    _buildah(environment, "commit", "--rm", container, images.BASE)
    yield environment
    _buildah(environment, "rmi", "--all", "--force")


def _buildah(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(["buildah", *arguments], env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_same_commit_gives_the_same_digest(
    buildah: dict[str, str], tmp_path: Path, figure: Callable[[str], None]
) -> None:
    """Two builds with buildah from checkouts that differ in modes and times."""
    digests = set()
    for number, mode in enumerate((0o600, 0o644)):
        root = _checkout(tmp_path / f"checkout-{number}", mode)
        images.build("buildah", f"localhost/try-{number}", "--no-cache", "--pull-never", root=root, environment=buildah)
        listed = _buildah(buildah, "images", "--format={{.ID}} {{.Digest}}", f"localhost/try-{number}")
        digests.add(listed.splitlines()[0])  # once for each tag
    assert len(digests) == 1
    figure(f"built twice with buildah: {digests.pop()}")


def _checkout(directory: Path, mode: int) -> Path:
    """Copy the files of the image with other modes and times."""
    for name in ("Containerfile", ".dockerignore", "requirements.lock", "models_init", "scripts"):
        source = images.ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, copy_function=shutil.copyfile)
        else:
            directory.mkdir(exist_ok=True)
            shutil.copyfile(source, directory / name)
    for path in directory.rglob("*"):
        path.chmod(mode | 0o700 if path.is_dir() else mode)
    (directory / "scripts/image").chmod(0o755)
    return directory
