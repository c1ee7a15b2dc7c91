"""A real registry with packs, and the imitation of a cloud's registry in front of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import MANIFEST_NAME
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from tests.services import cloud_registry, registry
from tests.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from tests.services.cloud_registry import Cloud
    from tests.services.registry import Registry
    from tests.site import Packs

PREFIX = "models"


@pytest.fixture(scope="session")
def open_registry(tmp_path_factory: pytest.TempPathFactory, packs: Packs) -> Iterator[Registry]:
    """Run a registry that needs no password, with all packs; tests must not change them."""
    with registry.serve(tmp_path_factory.mktemp("open-registry")) as served:
        push_packs(served, packs, *packs.trees)
        yield served


@pytest.fixture
def cloud(open_registry: Registry) -> Iterator[Cloud]:
    """Run the imitation in front of it, with tokens and links that are valid for minutes."""
    with cloud_registry.serve(open_registry) as served:
        yield served


@pytest.fixture
def registry_site(tmp_path: Path, packs: Packs) -> Site:
    """Prepare an empty volume, and an environment that names two packs, and no source yet."""
    variables = {**packs.environment, "MODELS_URL": "", "MODELS_RETRY_SECONDS": "5", "HOME": str(tmp_path)}
    return Site(tmp_path / "models", variables)


def push_packs(served: Registry, packs: Packs, *refs: PackRef) -> None:
    """Store packs in a registry, below `PREFIX`."""
    for ref in refs:
        directory = packs.directory / ref.name / ref.version
        documents = {MANIFEST_NAME: (directory / MANIFEST_NAME).read_bytes()}
        served.push(f"{PREFIX}/{ref.name}", ref.version, documents, (directory / ARCHIVE_NAME).read_bytes())


def pull_from(cloud: Cloud, user: str = cloud_registry.PULL, password: str = cloud_registry.PASSWORD) -> dict[str, str]:
    """Return the variables of a site that pulls from the cloud's registry."""
    return {
        "MODELS_URL": f"oci://{cloud.host}/{PREFIX}",
        "MODELS_REGISTRY_USERNAME": user,
        "MODELS_REGISTRY_PASSWORD": password,
    }
