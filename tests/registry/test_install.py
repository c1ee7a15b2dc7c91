"""Install from a registry: authorization, redirects, renewal, and the messages about denied access."""

from __future__ import annotations

import asyncio
import json
import random
import time
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UnavailableError
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from models_init.sources.oci.credential_files import RegistryCredentials
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.oci.source import OciSource
from tests.eventually import eventually_sync
from tests.registry.conftest import PREFIX, pull_from, push_packs
from tests.services import cloud_registry
from tests.services.registry import PASSWORD, USER, serve
from tests.site import COMMON, DUTCH, NEWER
from tests.sources.collecting_sink import Collected
from tests.tokens import leaks, real

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.cloud_registry import Cloud
    from tests.services.registry import Registry
    from tests.site import Packs, Site


def test_packs_are_installed_upgraded_and_verified(registry_site: Site, cloud: Cloud, packs: Packs) -> None:
    site = registry_site.but(**pull_from(cloud))
    assert site.run("--check").code == 0
    installed = site.run("--json")
    assert (installed.code, installed.json["retries"]) == (0, 0)
    assert packs.differences(site, COMMON, DUTCH) == []
    fetched = site.run("--json", REALTIME_LANGUAGE_VERSION=NEWER.version).json["bytes_fetched"]
    assert packs.differences(site, NEWER) == []
    assert 0 < fetched < 0.5 * packs.manifest(NEWER).archive.size
    path = site.active("nl-nl") / packs.manifest(NEWER).files[0].path
    path.write_bytes(b"damaged")
    assert site.run("--verify").code == 45
    assert site.run("--repair").code == 0
    assert site.run("--verify").code == 0
    assert cloud.counts["authorization at the data host"] == 0
    assert leaks(installed.out + installed.err) == []


def test_secrets_appear_in_no_output_and_no_file(registry_site: Site, cloud: Cloud) -> None:
    """This holds for the password, tokens and signed URLs, even if a request fails."""
    site = registry_site.but(**pull_from(cloud), MODELS_LOG_LEVEL="debug")
    texts = [text for done in (site.run(REALTIME_LANGUAGES="fy-nl"), site.run()) for text in (done.out, done.err)]
    texts += [path.read_text() for path in site.volume.rglob("*.json")]
    assert len(texts) > 6
    assert cloud.counts["tokens"] > 2
    assert [text for text in texts if cloud_registry.PASSWORD in text or leaks(text)] == []


def test_one_token_and_one_link_serve_all_connections(registry_site: Site, cloud: Cloud) -> None:
    site = registry_site.but(**pull_from(cloud), MODELS_CONNECTIONS="16")
    assert site.run().code == 0
    assert cloud.counts["tokens"] == 2  # one for each repository
    assert cloud.counts["blobs"] == 6  # configuration, manifest and archive of each pack


async def test_expiring_tokens_and_links_are_renewed(open_registry: Registry, packs: Packs) -> None:
    """Eight connections fetch ranges while several tokens and links expire; no range fails, and none is wrong.

    Tokens and links expire after a number of requests, so the result does not depend on the speed of the machine.
    """
    credentials = RegistryCredentials(cloud_registry.PULL, cloud_registry.PASSWORD)
    data = (packs.directory / DUTCH.name / DUTCH.version / ARCHIVE_NAME).read_bytes()
    key, chance = packs.manifest(DUTCH).archive_key, random.Random("ranges")
    with cloud_registry.serve(open_registry, token_uses=3, link_uses=20) as cloud:
        source = OciSource(RegistryAccess(f"http://{cloud.host}", PREFIX, lambda _: credentials))

        async def fetch() -> bool:
            sink, start = Collected(), chance.randrange(len(data) - 100_000)
            await source.get_range(key, start, start + 100_000, sink)
            return bytes(sink.data) == data[start : start + 100_000]

        for _ in range(16):
            assert all(await asyncio.gather(*(fetch() for _ in range(8))))
        await source.close()
        assert cloud.counts["tokens"] > 2
        assert cloud.counts["blobs"] > 5
        assert cloud.counts["dead links"] > 0
        assert cloud.counts["ranges"] > 3 * cloud.counts["blobs"]
        assert cloud.counts["authorization at the data host"] == 0


async def test_expired_new_link_is_an_error_and_renews_no_token(open_registry: Registry) -> None:
    """If links are expired on arrival, the error names both hosts and may be retried."""
    credentials = RegistryCredentials(cloud_registry.PULL, cloud_registry.PASSWORD)
    with cloud_registry.serve(open_registry, link_seconds=-1) as cloud:
        source = OciSource(RegistryAccess(f"http://{cloud.host}", PREFIX, lambda _: credentials))
        with pytest.raises(UnavailableError, match=r"redirects to localhost:\d+, which refuses new links"):
            await source.read(f"{DUTCH.name}/{DUTCH.version}/manifest.json", 1 << 20)
        await source.close()
        assert cloud.counts["tokens"] == 1


def test_denied_language_is_reported_at_once(registry_site: Site, cloud: Cloud) -> None:
    began = time.monotonic()
    done = registry_site.but(**pull_from(cloud), MODELS_RETRY_SECONDS="300").run(REALTIME_LANGUAGES="fy-nl")
    assert done.code == 22
    assert done.fault == (
        f"the pull token does not include fy-nl, or there is no repository models/fy-nl ({cloud.host} answered 401 "
        "DENIED); check the language and the license, and ask the vendor for a pull token that includes models/fy-nl"
    )
    assert time.monotonic() - began < 60  # no retry: those would take 300 s
    assert cloud.counts["tokens"] <= 2


def test_unknown_repository_is_reported_as_denied(registry_site: Site, open_registry: Registry) -> None:
    done = registry_site.run(REALTIME_LANGUAGES="de-de", MODELS_URL=f"oci://{open_registry.host}/{PREFIX}")
    assert done.code == 22
    assert "has no repository models/de-de, or hides it from this token" in done.fault
    assert done.fault.endswith("ask the vendor for a pull token that includes models/de-de")


def test_unknown_version_is_reported_with_those_that_exist(registry_site: Site, open_registry: Registry) -> None:
    done = registry_site.run(REALTIME_LANGUAGE_VERSION="2020.01", MODELS_URL=f"oci://{open_registry.host}/{PREFIX}")
    assert done.code == 21
    assert done.fault == "nl-nl 2020.01 does not exist; versions of nl-nl are: 2026.04, 2026.07; set one of them"


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        (
            cloud_registry.PULL,
            "wrong-password",
            "the user 'pull-user' or its password from MODELS_REGISTRY_PASSWORD is wrong",
        ),
        ("", "", "admits no anonymous access"),
    ],
)
def test_wrong_password_is_reported(registry_site: Site, cloud: Cloud, user: str, password: str, words: str) -> None:
    done = registry_site.but(**pull_from(cloud, user, password)).run()
    assert done.code == 22
    assert words in done.fault
    assert "wrong-password" not in done.err


def test_anonymous_pull_is_possible(registry_site: Site, open_registry: Registry, packs: Packs) -> None:
    with cloud_registry.serve(open_registry, anonymous=True) as cloud:
        site = registry_site.but(**pull_from(cloud, "", ""))
        assert site.run().code == 0
        assert packs.differences(site, COMMON, DUTCH) == []


def test_identity_token_of_a_credential_file_is_used(
    registry_site: Site, cloud: Cloud, packs: Packs, tmp_path: Path
) -> None:
    path = tmp_path / ".dockerconfigjson"
    path.write_text(json.dumps({"auths": {cloud.host: {"identitytoken": real(f"sig={cloud.identity}")[4:]}}}))
    site = registry_site.but(MODELS_URL=f"oci://{cloud.host}/{PREFIX}", REGISTRY_AUTH_FILE=str(path))
    done = site.run()
    path.unlink()
    assert done.code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_basic_authentication_with_a_password_file(
    registry_site: Site, packs: Packs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    with serve(tmp_path_factory.mktemp("basic"), password=True) as registry:
        push_packs(registry, packs, COMMON, DUTCH)
        variables = {"MODELS_REGISTRY_USERNAME": USER, "MODELS_REGISTRY_PASSWORD_FILE": str(password)}
        site = registry_site.but(**variables, MODELS_URL=f"oci://{registry.host}/{PREFIX}")
        assert site.run().code == 0
        assert packs.differences(site, COMMON, DUTCH) == []
        refused = site.but(MODELS_DIR=str(tmp_path / "other"), MODELS_REGISTRY_USERNAME="nobody").run()
        assert refused.code == 22
        assert "the user 'nobody' or its password from MODELS_REGISTRY_PASSWORD_FILE is wrong" in refused.fault


def test_killed_install_is_resumed(registry_site: Site, cloud: Cloud, packs: Packs) -> None:
    site, size = registry_site.but(**pull_from(cloud)), packs.manifest(DUTCH).archive.size
    with cloud.paused(at=size // 2), site.start() as process:
        eventually_sync(lambda: process.poll() is not None or cloud.counts["bytes"] >= size // 2, "half of the archive")
        assert process.poll() is None
        process.kill()
        process.communicate()
    done = site.run("--json")
    assert done.code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"MODELS_URL": "oci://registry.example/Models"}, "is not the address of a registry"),
        ({"MODELS_URL": "oci://user:secret-word@registry.example/models"}, "must not contain a user or password"),
        ({"MODELS_REGISTRY_PASSWORD": "x"}, "MODELS_REGISTRY_USERNAME is not set"),
    ],
)
def test_invalid_setting_is_reported(registry_site: Site, variables: dict[str, str], words: str) -> None:
    done = registry_site.run(**variables)
    assert done.code == 2
    assert words in done.fault
    assert "secret-word" not in done.err
