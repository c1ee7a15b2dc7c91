"""The published image in other programs: mount it, copy it, and install from the copies."""

from __future__ import annotations

import asyncio
import hashlib
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from models_init.core.events import NullObserver
from models_init.publish.pack.version_directory import VersionDirectory
from models_init.publish.upload.registry import PushOptions, push_all
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests import services
from tests.archive.archives import file
from tests.container.daemon import Docker, engine
from tests.registry.tools import Tool, busybox_root, containerd, podman, require_docker_26, require_oras
from tests.services.registry import plain, serve
from tests.site import COMMON, DUTCH, NEWER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.services.registry import Registry
    from tests.site import Packs, Site


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory, packs: Packs) -> Iterator[Registry]:
    """Publish two packs with `models-pack upload`."""
    directories = [VersionDirectory(packs.directory / ref.name / ref.version) for ref in (COMMON, DUTCH)]
    with serve(tmp_path_factory.mktemp("published")) as registry:
        access = RegistryAccess(f"http://{registry.host}", "models")
        asyncio.run(push_all(directories, access, PushOptions(Retrier(RetryPolicy(attempts=3))), NullObserver()))
        yield registry


def _reference(registry: Registry, prefix: str = "models") -> str:
    return f"{registry.host}/{prefix}/{DUTCH.name}:{DUTCH.version}"


def _digests(packs: Packs) -> dict[str, str]:
    tree = packs.trees[DUTCH]
    files = (path for path in tree.rglob("*") if path.is_file())
    return {path.relative_to(tree).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_podman_mounts_the_image_in_a_container(published: Registry, packs: Packs, tmp_path: Path) -> None:
    reference, expected = _reference(published), _digests(packs)
    root = busybox_root(tmp_path / "rootfs")
    with podman(tmp_path, published.host) as tool:
        tool.run("pull", "-q", reference)
        mount = f"type=image,source={reference},destination=/models"
        limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")  # not above the limits of this machine
        isolated = ("--network", "none", *limits, "--mount", mount, "--rootfs", str(root))
        script = "cd /models && find . -type f ! -path './.models-init/*' -exec sha256sum {} +"
        listed = tool.run("run", "--rm", *isolated, "/bin/busybox", "sh", "-c", script.replace("find", "busybox find"))
    pairs = (line.split(maxsplit=1) for line in listed.splitlines())
    assert {path.removeprefix("./"): digest for digest, path in pairs} == expected


def test_containerd_mounts_the_image(published: Registry, packs: Packs, tmp_path: Path) -> None:
    reference, target = _reference(published), tmp_path / "mounted"
    target.mkdir()
    with containerd(tmp_path) as tool:
        tool.run("images", "pull", "--plain-http", "--snapshotter", "native", reference)
        tool.run("images", "mount", "--snapshotter", "native", reference, str(target))
        try:
            found = {path: hashlib.sha256((target / path).read_bytes()).hexdigest() for path in _digests(packs)}
        finally:
            tool.run("images", "unmount", str(target))
    assert found == _digests(packs)


def test_oras_pulls_the_files_of_the_pack(published: Registry, packs: Packs, tmp_path: Path) -> None:
    oras, out = Tool((require_oras(),), tmp_path), tmp_path / "out"
    oras.run("pull", "--plain-http", "--output", str(out), _reference(published))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.tar", "pack.tar.zst"]
    published_files = packs.directory / DUTCH.name / DUTCH.version
    assert (out / "pack.tar.zst").read_bytes() == (published_files / "pack.tar.zst").read_bytes()
    with tarfile.open(out / "manifest.tar") as tar:
        manifest = tar.extractfile(".models-init/manifest.json")
        assert manifest
        assert manifest.read() == (published_files / "manifest.json").read_bytes()


def test_skopeo_pulls_the_layers_of_the_pack(published: Registry, packs: Packs, tmp_path: Path) -> None:
    skopeo, out = Tool((services.require_tool("skopeo"),), tmp_path), tmp_path / "out"
    skopeo.run("copy", "-q", "--src-tls-verify=false", f"docker://{_reference(published)}", f"dir:{out}")
    archive = packs.directory / DUTCH.name / DUTCH.version / "pack.tar.zst"
    layer = out / packs.manifest(DUTCH).archive.digest.removeprefix("sha256:")
    assert layer.read_bytes() == archive.read_bytes()


def _copy_by_skopeo(tmp_path: Path, origin: str, copy: str) -> None:
    options = ("copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false")
    Tool((services.require_tool("skopeo"),), tmp_path).run(*options, f"docker://{origin}", f"docker://{copy}")


def _copy_by_oras(tmp_path: Path, origin: str, copy: str) -> None:
    Tool((require_oras(),), tmp_path).run("copy", "--from-plain-http", "--to-plain-http", origin, copy)


@pytest.mark.parametrize("copy", [_copy_by_skopeo, _copy_by_oras], ids=["skopeo", "oras"])
def test_copy_with_the_published_layers_is_installed_by_chunks(  # noqa: PLR0917 - fixtures
    copy: Callable[[Path, str, str], None],
    published: Registry,
    packs: Packs,
    registry_site: Site,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with serve(tmp_path_factory.mktemp("mirror")) as mirror:
        for ref in (COMMON, DUTCH):
            names = (f"{host}/models/{ref.name}:{ref.version}" for host in (published.host, mirror.host))
            copy(tmp_path, *names)
        site = registry_site.but(MODELS_URL=f"oci://{mirror.host}/models")
        done = site.run()
    assert done.code == 0
    assert "recompressed" not in done.err
    assert packs.differences(site, COMMON, DUTCH) == []


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """Run an engine that can read layers compressed with zstd; that of Debian 12 cannot."""
    with engine(require_docker_26()) as docker:
        yield docker


def test_copy_by_docker_in_the_same_registry_is_installed_by_chunks(
    published: Registry, packs: Packs, registry_site: Site, docker: Docker
) -> None:
    """Docker keeps the layers that the registry has, but states the media type of gzip for them."""
    for ref in (COMMON, DUTCH):
        _repush_by_docker(docker, f"{published.host}/models/{ref.name}:{ref.version}", f"{published.host}/docker")
    site = registry_site.but(MODELS_URL=f"oci://{published.host}/docker")
    done = site.run()
    assert done.code == 0
    assert "recompressed" not in done.err
    assert packs.differences(site, COMMON, DUTCH) == []


def test_copy_by_docker_in_another_registry_is_installed(
    published: Registry, packs: Packs, registry_site: Site, docker: Docker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Docker compresses the layers again, with gzip."""
    with serve(tmp_path_factory.mktemp("mirror")) as mirror:
        for ref in (COMMON, DUTCH):
            _repush_by_docker(docker, f"{published.host}/models/{ref.name}:{ref.version}", f"{mirror.host}/docker")
        site = registry_site.but(MODELS_URL=f"oci://{mirror.host}/docker")
        done = site.run()
    assert done.code == 0
    assert done.err.count("recompressed") == 2
    assert packs.differences(site, COMMON, DUTCH) == []


def _repush_by_docker(docker: Docker, name: str, prefix: str) -> None:
    copy = f"{prefix}/{name.rpartition('/')[2]}"
    for command in (("pull", "--quiet", name), ("tag", name, copy), ("push", "--quiet", copy), ("rmi", name, copy)):
        docker.run(*command)


def test_copy_by_podman_in_the_same_registry_is_installed(
    published: Registry, packs: Packs, registry_site: Site, tmp_path: Path
) -> None:
    """Podman drops the annotations of layers, and keeps the compressed layers that the registry has."""
    with podman(tmp_path, published.host) as tool:
        _repush(tool, published, published)
    site = registry_site.but(MODELS_URL=f"oci://{published.host}/podman")
    assert site.run().code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_copy_that_podman_has_compressed_again_is_installed(
    published: Registry, packs: Packs, registry_site: Site, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The archive is fetched as a whole, its files are checked by the manifest, and later upgrades reuse its chunks."""
    with serve(tmp_path_factory.mktemp("mirror")) as mirror, podman(tmp_path, published.host, mirror.host) as tool:
        _repush(tool, published, mirror, "--compression-format", "gzip")
        site = registry_site.but(MODELS_URL=f"oci://{mirror.host}/podman")
        assert site.run("--check").code == 0
        done = site.run("--json")
        assert done.code == 0
        assert done.err.count("recompressed") == 2
        assert packs.differences(site, COMMON, DUTCH) == []
        assert site.run("--verify").code == 0
        assert "nothing to do" in site.run().out
        largest = max(packs.manifest(COMMON).files, key=lambda entry: entry.size)
        (site.active("common") / largest.path).write_bytes(b"damaged")
        repaired = site.run("--repair")
        assert repaired.code == 21
        assert "only compressed again" in repaired.fault
        upgraded = site.run("--json", REALTIME_LANGUAGE_VERSION=NEWER.version, MODELS_URL=packs.url)
        assert upgraded.json["bytes_fetched"] < 0.2 * packs.manifest(NEWER).archive.size


@pytest.mark.parametrize("change", ["content", "additional file", "truncated"])
def test_copy_with_other_files_is_refused(
    packs: Packs, registry_site: Site, tmp_path_factory: pytest.TempPathFactory, change: str
) -> None:
    """A layer that was compressed again has another digest than the archive: the manifest decides about each file."""
    directory = packs.directory / COMMON.name / COMMON.version
    stream = bytearray(plain((directory / "pack.tar.zst").read_bytes()))
    if change == "content":
        stream[len(stream) // 2] ^= 1
    elif change == "additional file":
        stream[-1024:] = file(b"more", b"bytes") + bytes(1024)
    else:
        del stream[-5000:]
    documents = {"manifest.json": (directory / "manifest.json").read_bytes()}
    with serve(tmp_path_factory.mktemp("changed")) as registry:
        layer = zstandard.compress(bytes(stream), 3)
        registry.push(f"models/{COMMON.name}", COMMON.version, documents, layer)
        dutch = packs.directory / DUTCH.name / DUTCH.version
        documents = {"manifest.json": (dutch / "manifest.json").read_bytes()}
        registry.push(f"models/{DUTCH.name}", DUTCH.version, documents, (dutch / "pack.tar.zst").read_bytes())
        done = registry_site.run(MODELS_URL=f"oci://{registry.host}/models")
    assert done.code in (10, 30)
    assert "common 2026.04: " in done.fault
    assert not (registry_site.volume / "current").exists()


def _repush(tool: Tool, origin: Registry, target: Registry, *options: str) -> None:
    for ref in (COMMON, DUTCH):
        name = f"{origin.host}/models/{ref.name}:{ref.version}"
        tool.run("pull", "-q", name)
        tool.run("push", "-q", "--tls-verify=false", *options, name, f"{target.host}/podman/{ref.name}:{ref.version}")
