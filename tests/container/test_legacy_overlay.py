"""docker-compose.realtime.yml: two services install from a registry on one volume, then the engine starts."""

from __future__ import annotations

import json
import os
import random
from datetime import datetime
from typing import TYPE_CHECKING

import pytest
import zstandard

from models_init.core.pack_ref import PackRef
from models_init.formats import oci
from models_init.formats.manifest import MANIFEST_NAME
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from tests.archive.images import directory, layer, regular
from tests.container.site import ENGINE, FIRST, LEGACY, LEGACY_HOST_NETWORK, LEGACY_INITS, ONPREM
from tests.container.test_compose import ask
from tests.container.test_support import support
from tests.publish.packs import built
from tests.samples import MIB, Shape, write_tree
from tests.services import cloud_registry, registry
from tests.services.registry import Layer
from tests.tokens import leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.container.site import ContainerSite
    from tests.services.cloud_registry import Cloud

_PACKS = (PackRef("nl-nl", "2026.04"), PackRef("common", "2026.04"))
_SMALL = Shape(texts=12, weights=(3 * MIB,), dense=(2 * MIB + 1,))


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """Run a registry with two packs, which needs a pull token and redirects to a data host."""
    vendor = tmp_path_factory.mktemp("packs")
    with registry.serve(tmp_path_factory.mktemp("registry")) as served:
        for ref in _PACKS:
            built(write_tree(vendor / "trees" / ref.name, _SMALL, ref.name), vendor / "out", ref, level=1)
            version = vendor / "out" / ref.name / ref.version
            documents = {MANIFEST_NAME: (version / MANIFEST_NAME).read_bytes()}
            served.push(f"models/{ref.name}", ref.version, documents, (version / ARCHIVE_NAME).read_bytes())
        with cloud_registry.serve(served) as front:
            yield front


@pytest.fixture
def legacy_site(site: ContainerSite, cloud: Cloud) -> ContainerSite:
    """A customer's directory with the legacy overlay and a pull token."""
    site.files = [ONPREM, LEGACY, LEGACY_HOST_NETWORK]
    site.set(
        **FIRST,
        MODELS_URL=f"oci://{cloud.host}/models",
        MODELS_REGISTRY_USERNAME=cloud_registry.PULL,
        MODELS_REGISTRY_PASSWORD=cloud_registry.PASSWORD,
    )
    return site


def _exit_code(site: ContainerSite, service: str) -> int:
    state = site.container(service)["State"]
    return int(state["ExitCode"]) if state["Status"] == "exited" else -1


def test_both_services_install_one_release_at_the_same_time(legacy_site: ContainerSite, cloud: Cloud) -> None:
    """Both end with 0; one of them fetches the packs, and the other has nothing to do."""
    before = cloud.counts["authorization at the data host"]
    legacy_site.compose("up", "--detach")
    assert [_exit_code(legacy_site, service) for service in LEGACY_INITS] == [0, 0]
    assert ask(legacy_site)["packs"] == {"nl-nl": "2026.04", "common": "2026.04"}
    logs = ["\n".join(legacy_site.log(service)) for service in LEGACY_INITS]
    assert sorted(("nothing to do" in log, "is current: " in log) for log in logs) == [(False, True), (True, False)]
    assert cloud.counts["authorization at the data host"] == before
    assert len(list((legacy_site.volume / "releases").glob("[!.]*"))) == 1


@pytest.mark.parametrize("order", [LEGACY_INITS, LEGACY_INITS[::-1]], ids=" then ".join)
def test_services_run_in_any_order(legacy_site: ContainerSite, order: tuple[str, str]) -> None:
    """The release is complete after either service. The pull token is in a file next to the license."""
    token = legacy_site.directory / "config/pull-token"
    token.write_text(f"{cloud_registry.PASSWORD}\n")
    os.chown(token, 10001, 10001)
    token.chmod(0o400)
    legacy_site.set(MODELS_REGISTRY_PASSWORD="", MODELS_REGISTRY_PASSWORD_FILE="/site/config/pull-token")
    for service in order:
        legacy_site.compose("up", "--detach", service)
        legacy_site.docker.run("wait", f"{legacy_site.project}-{service}-1")
        assert _exit_code(legacy_site, service) == 0
        assert {path.name for path in (legacy_site.volume / "current").iterdir()} >= {"nl-nl", "common"}
    assert any(line.startswith("nothing to do: release ") for line in legacy_site.log(order[1]))


def test_ordinary_images_are_installed_within_the_memory_limit(legacy_site: ContainerSite, cloud: Cloud) -> None:
    """The layer of the language has the largest zstd window that is accepted, and is larger than that."""
    weights = random.Random("weights").randbytes(34 * MIB) * 4
    plain = layer(directory("models"), directory("models/nl-nl"), regular("models/nl-nl/final.weights", weights))
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27, enable_ldm=True)
    blob = zstandard.ZstdCompressor(compression_params=parameters).compress(plain)
    cloud.registry.push_image("models/legacy/nl-nl", "2026.04", [Layer(blob, plain, oci.LAYER_TAR_ZSTD)])
    common = layer(directory("models"), directory("models/common"), regular("models/common/phones.txt", b"a b\n"))
    cloud.registry.push_image("models/legacy/common", "2026.04", [Layer.gzip(common)])

    legacy_site.set(MODELS_URL=f"oci://{cloud.host}/models/legacy")
    legacy_site.compose("up", "--detach")
    assert [_exit_code(legacy_site, service) for service in LEGACY_INITS] == [0, 0]
    assert ask(legacy_site)["packs"] == {"nl-nl": "2026.04", "common": "2026.04"}
    assert (legacy_site.volume / "current/nl-nl/final.weights").read_bytes() == weights


def test_missing_pull_permission_is_the_last_line_of_the_log(
    legacy_site: ContainerSite, figure: Callable[[str], None]
) -> None:
    """The engine does not start, and the services end without retries."""
    legacy_site.set(REALTIME_LANGUAGES="fy-nl", REALTIME_LANGUAGE="fy-nl")
    done = legacy_site.try_compose("up", "--detach")
    assert done.code == 1
    assert "didn't complete successfully: exit 22" in done.text
    for service in LEGACY_INITS:
        legacy_site.docker.run("wait", f"{legacy_site.project}-{service}-1")
        assert _exit_code(legacy_site, service) == 22
        stamp, _, line = (
            legacy_site.compose("logs", "--no-log-prefix", "--timestamps", service).splitlines()[-1].partition(" ")
        )
        assert "the pull token does not include fy-nl, or there is no repository models/fy-nl" in line
        assert line.endswith("ask the vendor for a pull token that includes models/fy-nl")
        took = _moment(stamp) - _moment(legacy_site.container(service)["State"]["StartedAt"])
        figure(f"{service} with a token that lacks the language: the cause is logged {took:.2f} s after the start")
        assert took < 60  # retries would take MODELS_RETRY_SECONDS, 300 s
    assert legacy_site.container(ENGINE)["State"]["Status"] == "created"
    collected = support(legacy_site)
    assert {f"host/logs-{service}.txt" for service in LEGACY_INITS} <= collected.keys()
    shown = "".join(collected.values()) + json.dumps([legacy_site.log(service) for service in LEGACY_INITS])
    assert "the pull token does not include fy-nl" in collected["host/logs-asr-models-init.txt"]
    assert cloud_registry.PASSWORD not in shown
    assert leaks(shown) == []


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("\x1b[2K", "")).timestamp()
