"""docker-registry's own token authentication: the registry itself verifies tokens, scopes and expiry times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.registry.conftest import PREFIX, push_packs
from tests.services import cloud_registry, registry, token_service
from tests.site import COMMON, DUTCH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.registry import Registry
    from tests.services.token_service import TokenService
    from tests.site import Packs, Site


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory, packs: Packs) -> Iterator[tuple[Registry, TokenService]]:
    """Run a registry with two packs that admits only tokens of a token service."""
    directory = tmp_path_factory.mktemp("token-registry")
    with registry.serve(directory) as served:
        push_packs(served, packs, COMMON, DUTCH)
    with token_service.serve(directory) as service, registry.serve(directory, tokens=service) as served:
        yield served, service


@pytest.fixture
def token_site(registry_site: Site, stocked: tuple[Registry, TokenService]) -> Site:
    """Prepare a site with a pull token."""
    served, service = stocked
    service.seconds = 300.0
    return registry_site.but(
        MODELS_URL=f"oci://{served.host}/{PREFIX}",
        MODELS_REGISTRY_USERNAME=cloud_registry.PULL,
        MODELS_REGISTRY_PASSWORD=cloud_registry.PASSWORD,
    )


def test_packs_are_installed_with_a_token_for_each_repository(
    token_site: Site, packs: Packs, stocked: tuple[Registry, TokenService]
) -> None:
    before = stocked[1].counts["tokens"]
    done = token_site.run("--json")
    assert (done.code, done.json["retries"]) == (0, 0)
    assert packs.differences(token_site, COMMON, DUTCH) == []
    assert stocked[1].counts["tokens"] - before == 2


def test_token_without_the_repository_is_reported_at_once(token_site: Site) -> None:
    done = token_site.run(REALTIME_LANGUAGES="fy-nl", MODELS_RETRY_SECONDS="300")
    assert done.code == 22
    assert "the pull token does not include fy-nl, or there is no repository models/fy-nl (" in done.fault
    assert done.fault.endswith("ask the vendor for a pull token that includes models/fy-nl")


def test_wrong_password_is_reported(token_site: Site) -> None:
    done = token_site.run(MODELS_REGISTRY_PASSWORD="another-password")
    assert done.code == 22
    assert "the user 'pull-user' or its password from MODELS_REGISTRY_PASSWORD is wrong or expired" in done.fault


def test_refused_new_token_is_reported_as_such(token_site: Site, stocked: tuple[Registry, TokenService]) -> None:
    """If the clocks of the registry and its token service differ, neither the token nor the language is blamed."""
    stocked[1].seconds = -600.0
    done = token_site.run()
    assert done.code == 22
    assert "refuses the token that its token service has just issued" in done.fault
