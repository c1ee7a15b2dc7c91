"""The chart's pod in podman, with the real image and Azurite: install, new token, lease, failures, SIGTERM."""

from __future__ import annotations

import base64
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from models_init.formats.manifest import parse as parse_manifest
from tests.container import images
from tests.container.podman import ChartPod, KubeletSecret, podman
from tests.eventually import eventually_sync
from tests.kubernetes.chart import CHART, RELEASE, parse
from tests.kubernetes.kubelet import USER
from tests.registry.conftest import PREFIX, push_packs
from tests.services import registry
from tests.services.chart_tools import Helm, install_helm
from tests.services.kubernetes_api.object_rules import pod_template
from tests.site import COMMON, DUTCH, NEWER, manifest_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from tests.container.daemon import Docker
    from tests.container.podman import Podman
    from tests.services.azurite import Azurite
    from tests.site import Packs

_SERVER = f"{images.REGISTRY}/server:dev"


@pytest.fixture(scope="module")
def engine(docker: Docker, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """Podman with the image and the replacement of asr-server."""
    images.build_stand_in(docker, image)
    archive = tmp_path_factory.mktemp("images") / "images.tar"
    docker.run("save", "--output", str(archive), image, _SERVER)
    with podman() as tool:
        tool.run("load", "--quiet", "--input", str(archive))
        archive.unlink()
        yield tool


@pytest.fixture(scope="module")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Return helm 3, which renders the pods."""
    return Helm(install_helm()[3], tmp_path_factory.mktemp("helm"))


class Namespace:
    """A release of the chart with one language, whose pods share the volume and the Secrets of a directory."""

    def __init__(self, engine: Podman, helm: Helm, directory: Path, bucket: Azurite) -> None:
        self._engine, self._helm, self._bucket, self._directory = engine, helm, bucket, directory
        self.volume = directory / "models"
        self.volume.mkdir()
        os.chown(self.volume, 0, USER)
        self.volume.chmod(0o2775)  # root's, and writable for fsGroup
        self.token = KubeletSecret(directory / "models-sas", token=bucket.sas())
        KubeletSecret(directory / "license", **{"license.dat": "a license\n"})
        self._pods: list[ChartPod] = []

    def pod(self, kind: str = "Deployment", **values: Any) -> ChartPod:
        """Return the first pod of a kind that the chart renders with these values."""
        text = self._helm.run("template", RELEASE, CHART, "--values", self._written(self._values(values)))
        template = next(pod_template(thing) for thing in parse(text) if thing["kind"] == kind)
        assert template
        pod = ChartPod(self._engine, self._directory, f"pod{len(self._pods)}-{kind.lower()}", template)
        self._pods.append(pod)
        return pod

    def give_volume_to_root(self) -> None:
        """Give the volume to root, so that no other user can write to it."""
        os.chown(self.volume, 0, 0)
        self.volume.chmod(0o755)

    def forget_times(self) -> None:
        """Replace the times in the history by an old one."""
        history = self.volume / "releases/.history"
        history.write_text(re.sub(r"(?m)^\S+", "2026-01-01T00:00:00+00:00", history.read_text()))

    def close(self) -> None:
        """Remove all pods."""
        for pod in self._pods:
            pod.remove()

    def _values(self, changes: dict[str, Any]) -> dict[str, Any]:
        host, _, repository = images.REGISTRY.partition("/")
        our_image = {"registry": host, "tag": "dev"}
        values: dict[str, Any] = {
            "languages": {"nl-nl": {}},
            "packs": {"languageVersion": "2026.04", "commonVersion": "2026.04"},
            "source": {"url": self._bucket.container_url, "sas": {"existingSecret": "models-sas"}},
            "license": {"engine": {"existingSecret": "asr-license"}},
            "modelsInit": {"image": our_image | {"repository": f"{repository}/models-init"}},
            "engine": {"image": our_image | {"repository": f"{repository}/server"}},
        }
        for name, value in changes.items():
            values[name] = {**values[name], **value} if name in ("modelsInit", "engine") else value
        return values

    def _written(self, values: dict[str, Any]) -> Path:
        path = self._directory / "values.json"
        path.write_text(json.dumps(values))
        return path


@pytest.fixture
def namespace(engine: Podman, helm: Helm, stocked: Azurite, tmp_path: Path) -> Iterator[Namespace]:
    """A release without pods."""
    namespace = Namespace(engine, helm, tmp_path, stocked)
    try:
        yield namespace
    finally:
        namespace.close()


def _installed(pod: ChartPod, container: str = "models-init") -> None:
    text, code = pod.played()
    assert code == 0, text + pod.log(container)


def _completed(pod: ChartPod, container: str = "models-init") -> None:
    """Run a pod to completion, such as the pod of a Job."""
    _installed(pod, container)
    assert pod.exit_code(container) == 0, pod.log(container)


def _slow(rate: str) -> dict[str, Any]:
    """Fetch one pack after the other at this rate."""
    settings = {"MODELS_MAX_RATE": rate, "MODELS_CONNECTIONS": "1"}
    return {"extraEnv": [{"name": name, "value": value} for name, value in settings.items()]}


def _digests(pod: ChartPod) -> dict[str, str]:
    """Hash the packs as the engine sees them."""
    lines = pod.execute("asr-server", "sh", "-c", "cd /models/current && find . -type f -exec sha256sum {} +")
    pairs = (line.split(maxsplit=1) for line in lines.splitlines())
    return {path.removeprefix("./"): f"sha256:{digest}" for digest, path in pairs}


def _published(bucket: Azurite, *refs: PackRef) -> dict[str, str]:
    manifests = (parse_manifest(bucket.get(manifest_key(ref)), ref) for ref in refs)
    return {f"{manifest.pack}/{file.path}": file.digest for manifest in manifests for file in manifest.files}


def test_engine_reads_packs_installed_with_a_renewed_token(namespace: Namespace, stocked: Azurite) -> None:
    """The token is revoked between two requests; the run continues after a kubelet-like update of the Secret."""
    namespace.token.update(token=stocked.revocable_sas("site"))
    pod = namespace.pod(modelsInit=_slow("400KB"))  # a request takes twelve seconds
    with pod.start() as playing:
        eventually_sync(lambda: '"event": "fetching"' in pod.log("models-init"), "the first request")
        stocked.revoke("site")
        eventually_sync(lambda: "token_refused" in pod.log("models-init"), "the refusal")
        assert pod.state("asr-server")["Status"] == "created"
        namespace.token.update(token=stocked.sas())
        assert playing.wait() == 0, pod.log("models-init")
    assert pod.state("models-init")["ExitCode"] == 0
    assert pod.log("models-init").count("token_refused") == 1
    eventually_sync(lambda: "License is valid" in pod.log("asr-server"), "the engine's start")
    assert _digests(pod) == _published(stocked, COMMON, DUTCH)
    for path in ("/file", "/models/current/nl-nl/file", "/config/file"):
        assert "Read-only file system" in pod.try_execute("asr-server", "touch", path)
    assert pod.execute("asr-server", "id", "-u").strip() == str(USER)


def test_lease_prevents_pruning_and_ends_with_sigterm(namespace: Namespace, stocked: Azurite) -> None:
    """`podman stop` sends SIGKILL after two seconds, which would give exit code 137."""
    pod = namespace.pod()
    _installed(pod)
    eventually_sync(lambda: '"event": "holding"' in pod.log("lease"), "the lease")
    assert pod.passes_startup_probe("lease")
    newer = {"languageVersion": NEWER.version, "commonVersion": COMMON.version}
    _completed(namespace.pod("Job", staging={"mode": "job"}, languages={"en-us": {}}))
    _completed(namespace.pod("Job", staging={"mode": "job"}, packs=newer))
    namespace.forget_times()

    pruned = namespace.pod("CronJob", packs=newer, prune={"enabled": True, "keep": 0})
    _completed(pruned)
    assert "is in use by a reader" in pruned.log("models-init")
    assert _digests(pod) == _published(stocked, COMMON, DUTCH)

    pod.stop("lease")
    assert pod.state("lease")["ExitCode"] == 0, pod.log("lease")
    pruned = namespace.pod("CronJob", packs=newer, prune={"enabled": True, "keep": 0})
    _completed(pruned)
    assert not (namespace.volume / "packs/nl-nl/2026.04").exists(), pruned.log("models-init")
    assert (namespace.volume / "packs/nl-nl/2026.07").exists()


def test_engine_waits_for_the_install_by_a_job_without_token_and_source(namespace: Namespace, stocked: Azurite) -> None:
    pod = namespace.pod(staging={"mode": "job"})
    assert "models-sas" not in str(pod.template)
    with pod.start() as playing:
        eventually_sync(lambda: "waiting" in pod.log("models-init"), "the wait")
        _completed(namespace.pod("Job", staging={"mode": "job"}))
        assert playing.wait() == 0, pod.log("models-init")
    assert _digests(pod) == _published(stocked, COMMON, DUTCH)


def test_daemon_set_takes_over_a_directory_of_the_node_and_installs(namespace: Namespace, stocked: Azurite) -> None:
    """The directory is root's, as kubelet creates it (DirectoryOrCreate); the pod that takes it over has CHOWN only."""
    namespace.give_volume_to_root()
    on_node: dict[str, Any] = {"storage": {"type": "hostPath"}, "staging": {"mode": "daemonSet"}}
    pod = namespace.pod("DaemonSet", **on_node)
    assert pod.played()[1] != 0
    assert pod.state("models-init-nl-nl-0")["ExitCode"] == 43
    assert "give the volume to user 10001" in pod.termination_message("models-init-nl-nl-0")

    pod = namespace.pod("DaemonSet", **on_node | {"storage": {"type": "hostPath", "takeOwnership": True}})
    _installed(pod, "models-init-nl-nl-0")
    eventually_sync(lambda: '"event": "holding"' in pod.log("lease"), "the lease")
    engine = namespace.pod(**on_node)
    _installed(engine)
    assert _digests(engine) == _published(stocked, COMMON, DUTCH)


def test_packs_are_installed_from_a_registry_with_a_pull_secret(
    namespace: Namespace, packs: Packs, tmp_path: Path
) -> None:
    """The Secret has the type kubernetes.io/dockerconfigjson, so that its file is called `.dockerconfigjson`."""
    (tmp_path / "registry-data").mkdir()
    with registry.serve(tmp_path / "registry-data", password=True) as server:
        push_packs(server, packs, COMMON, DUTCH)
        auth = base64.b64encode(f"{registry.USER}:{registry.PASSWORD}".encode()).decode()
        credentials = json.dumps({"auths": {server.host: {"auth": auth}}})
        KubeletSecret(tmp_path / "registry", **{".dockerconfigjson": credentials})
        source = {"url": f"oci://{server.host}/{PREFIX}", "registry": {"existingSecret": "models-pull"}}
        pod = namespace.pod(source=source)
        _installed(pod)
    assert {path.partition("/")[0] for path in _digests(pod)} == {"common", "nl-nl"}


def test_helm_test_checks_that_an_install_would_work(namespace: Namespace) -> None:
    pod = namespace.pod("Pod")
    _completed(pod, "check")
    assert "nl-nl 2026.04" in pod.log("check")


_FAILURES = {
    "expired token": (22, r"the SAS token expired at .*; put a valid token into .*"),
    "no Secret": (2, r"MODELS_SAS_TOKEN_FILE=\S+ cannot be read: No such file or directory; set it to .*"),
    "no such version": (21, r"nl-nl 2026.99 does not exist; versions of nl-nl are: 2026.04, 2026.07.*"),
}


@pytest.mark.parametrize("cause", _FAILURES)
def test_failed_init_container_leaves_cause_and_remedy_as_termination_message(
    namespace: Namespace, stocked: Azurite, cause: str
) -> None:
    """The engine does not start."""
    version = "2026.99" if cause == "no such version" else "2026.04"
    if cause == "expired token":
        namespace.token.update(token=stocked.sas(expires_in=-60, starts_in=-120))
    elif cause == "no Secret":
        namespace.token.remove()
    pod = namespace.pod(packs={"languageVersion": version, "commonVersion": COMMON.version})
    assert pod.played()[1] != 0
    code, message = _FAILURES[cause]
    assert pod.state("models-init")["ExitCode"] == code
    assert re.fullmatch(message, pod.termination_message("models-init").strip())
    assert pod.state("asr-server")["Status"] == "created"


def test_install_stopped_by_sigterm_is_continued_by_the_next_pod(namespace: Namespace) -> None:
    """The install ends within two seconds, after which `podman stop` would kill it (exit code 137)."""
    pod = namespace.pod(modelsInit=_slow("1MB"))
    with pod.start() as playing:
        eventually_sync(lambda: _has_chunks(namespace.volume / "staging"), "the first chunk on the volume")
        pod.stop("models-init")
        assert playing.wait() != 0
    assert pod.state("models-init")["ExitCode"] == 143
    again = namespace.pod()
    _installed(again)
    assert json.loads(again.log("models-init").splitlines()[-1])["bytes_reused"] > 0


def _has_chunks(staging: Path) -> bool:
    """Return True if a file of a pack has content; a file that is only allocated consists of zeros."""
    return any(path.is_file() and path.read_bytes().strip(b"\0") for path in staging.glob("*/*@*/**/*"))
