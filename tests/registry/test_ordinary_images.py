"""Install packs from ordinary images, which `models-pack upload` has not published."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UsageError
from models_init.formats import oci
from models_init.formats.manifest import MANIFEST_NAME
from models_init.install.trust import AcceptUnsigned
from models_init.publish.bundle.contents import BundleRequest, plan_bundle
from models_init.publish.pack.version_directory import ARCHIVE_NAME
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.oci.source import OciSource
from tests.archive.archives import file
from tests.archive.images import directory, layer, link, regular
from tests.registry import builders
from tests.registry.conftest import pull_from
from tests.registry.tools import podman
from tests.services import cloud_registry
from tests.services.registry import Layer, serve
from tests.site import COMMON, DUTCH, NEWER
from tests.tokens import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.registry.tools import Tool
    from tests.services.registry import Registry
    from tests.site import Packs, Site

MIB = 1 << 20

_LIST = """
cd /models/nl-nl
busybox find -L . -type f -exec busybox sha256sum {} +
busybox find -L . -type f -perm -100 -exec echo executable {} \\;
busybox find -L . -type d ! -name . -exec echo directory {} \\;
"""
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")  # not above the limits of this machine

_PUSHES = {
    "buildah-gzip": (),
    "buildah-zstd": ("--format=oci", "--compression-format=zstd"),
    "buildah-chunked": ("--format=oci", "--compression-format=zstd:chunked"),
    "buildah-tar": ("--format=v2s2", "--disable-compression"),
}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Run a registry for images."""
    with serve(tmp_path_factory.mktemp("mirror")) as registry:
        yield registry


@pytest.fixture(scope="module")
def legacy(mirror: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Build and push an image with each builder; return the files as seen in its containers, by the builder's name."""
    buildah, buildkit = f"{mirror.host}/buildah-gzip/nl-nl:2026.04", f"{mirror.host}/buildkit/nl-nl:2026.04"
    pushes = {f"{mirror.host}/{prefix}/nl-nl:2026.04": options for prefix, options in _PUSHES.items()}
    builders.push_by_buildah(tmp_path_factory.mktemp("buildah"), pushes)
    builders.push_by_buildkit(tmp_path_factory.mktemp("buildkit"), buildkit)
    with podman(tmp_path_factory.mktemp("podman"), mirror.host) as tool:
        return {"buildah": _shown_by(tool, buildah), "buildkit": _shown_by(tool, buildkit)}


def _shown_by(tool: Tool, reference: str) -> list[str]:
    """Return the files that a container of the image has at /models/nl-nl, with links followed."""
    tool.run("pull", "-q", reference)
    shell = ("--entrypoint", "/bin/busybox", reference, "sh", "-c", _LIST)
    return sorted(tool.run("run", "--rm", "--network", "none", *_LIMITS, *shell).splitlines())


def _installed(root: Path) -> list[str]:
    """Return the same for an installed pack."""
    lines = []
    for path in root.rglob("*"):
        name = f"./{path.relative_to(root)}"
        assert not path.is_symlink()
        if path.is_dir():
            lines.append(f"directory {name}")
            continue
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}")
        if path.stat().st_mode & 0o100:
            lines.append(f"executable {name}")
    return sorted(lines)


@pytest.fixture
def image_site(registry_site: Site, mirror: Registry, packs: Packs, request: pytest.FixtureRequest) -> Site:
    """A site that installs from a prefix of the registry with the name of the test; `common` is a published pack."""
    return _site(registry_site, mirror, packs, f"test/{request.node.originalname.removeprefix('test_')}"[:80])


def _site(site: Site, registry: Registry, packs: Packs, prefix: str) -> Site:
    directory = packs.directory / COMMON.name / COMMON.version
    documents = {MANIFEST_NAME: (directory / MANIFEST_NAME).read_bytes()}
    registry.push(f"{prefix}/{COMMON.name}", COMMON.version, documents, (directory / ARCHIVE_NAME).read_bytes())
    return site.but(MODELS_URL=f"oci://{registry.host}/{prefix}")


def _repository(site: Site) -> str:
    return f"{site.environment['MODELS_URL'].partition('://')[2].partition('/')[2]}/nl-nl"


@pytest.mark.parametrize("name", [*_PUSHES, "buildkit"])
def test_installed_files_equal_those_in_a_container_of_the_image(
    legacy: dict[str, list[str]], mirror: Registry, registry_site: Site, packs: Packs, name: str
) -> None:
    site = _site(registry_site, mirror, packs, name)
    assert site.run().code == 0
    assert _installed(site.active("nl-nl").resolve()) == legacy[name.partition("-")[0]]
    assert (site.active("nl-nl") / "acoustic/same.weights").stat().st_size == MIB


_CHANCE = random.Random("image")
_BASE = layer(file(b"bin/busybox", _CHANCE.randbytes(2 * MIB)))
_MODELS = layer(
    directory("models"),
    directory("models/nl-nl"),
    regular("models/nl-nl/final", _CHANCE.randbytes(4 * MIB)),
    regular("models/nl-nl/removed", _CHANCE.randbytes(MIB)),
)
_REMOVAL = layer(regular("models/nl-nl/.wh.removed"))


def _top(text: str) -> bytes:
    return layer(regular("models/nl-nl/version", text.encode()), link("models/nl-nl/latest", "final"))


def _files(site: Site) -> list[str]:
    root = site.active("nl-nl").resolve()
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*"))


def test_upgrade_fetches_only_changed_layers(image_site: Site, mirror: Registry) -> None:
    """This holds even if unchanged layers were compressed again, and if another layer hides one of their files."""
    repository = _repository(image_site)
    mirror.push_image(repository, "2026.04", [Layer.gzip(plain) for plain in (_BASE, _MODELS, _REMOVAL, _top("old"))])
    new = [*(Layer.gzip(plain, 1) for plain in (_BASE, _MODELS, _REMOVAL)), Layer.gzip(_top("new"))]
    mirror.push_image(repository, "2026.07", new)
    assert image_site.run("--json").json["bytes_fetched"] > 6 * MIB
    newer = image_site.but(REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert newer.run("--plan", "--json").json["bytes_to_fetch"] == len(new[-1].blob)
    done = newer.run("--json")
    assert (done.code, done.json["bytes_fetched"]) == (0, len(new[-1].blob))
    assert "layers_reused" in done.err
    assert _files(newer) == ["final", "latest", "version"]
    assert (newer.active("nl-nl") / "version").read_text() == "new"
    assert newer.run("--verify").code == 0
    inodes = {(newer.volume / "packs/nl-nl" / version / "final").stat().st_ino for version in ("2026.04", "2026.07")}
    assert len(inodes) == 1, "an unchanged file is a hard link"


def test_layer_is_fetched_if_a_removed_file_comes_back(image_site: Site, mirror: Registry) -> None:
    repository = _repository(image_site)
    mirror.push_image(repository, "2026.04", [Layer(plain, plain) for plain in (_MODELS, _REMOVAL)])
    mirror.push_image(repository, "2026.07", [Layer(plain, plain) for plain in (_MODELS, _top("new"))])
    assert image_site.run().code == 0
    newer = image_site.but(REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert newer.run("--json").json["bytes_fetched"] > 5 * MIB
    assert _files(newer) == ["final", "latest", "removed", "version"]


def test_layer_is_fetched_if_an_installed_file_is_damaged(image_site: Site, mirror: Registry) -> None:
    repository = _repository(image_site)
    mirror.push_image(repository, "2026.04", [Layer(_MODELS, _MODELS)])
    mirror.push_image(repository, "2026.07", [Layer(plain, plain) for plain in (_MODELS, _top("new"))])
    assert image_site.run().code == 0
    original = (image_site.active("nl-nl") / "final").read_bytes()
    (image_site.active("nl-nl") / "final").write_bytes(b"?" * len(original))
    done = image_site.run("--json", REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert done.code == 0
    assert "fetching_again" in done.err
    assert (image_site.active("nl-nl") / "final").read_bytes() == original


def test_killed_install_continues_with_the_stored_layers(image_site: Site, mirror: Registry) -> None:
    large = layer(regular("models/nl-nl/large", _CHANCE.randbytes(24 * MIB)))
    mirror.push_image(_repository(image_site), "2026.04", [Layer(plain, plain) for plain in (large, _MODELS)])
    with image_site.but(MODELS_MAX_RATE="20MB", MODELS_CONNECTIONS="1").start() as process:
        while not list(image_site.volume.glob("staging/nl-nl/*.spool/[0-9]*")):
            assert process.poll() is None
        process.kill()
    done = image_site.run("--json")
    assert done.code == 0
    assert done.json["bytes_fetched"] < len(large) + len(_MODELS)
    assert (image_site.active("nl-nl") / "large").stat().st_size == 24 * MIB


def test_wrong_layer_is_fetched_again_and_named(image_site: Site, mirror: Registry) -> None:
    mirror.push_image(_repository(image_site), "2026.04", [Layer(plain, plain) for plain in (_MODELS, _top("old"))])
    digest = f"sha256:{hashlib.sha256(_MODELS).hexdigest()}"
    path = mirror.blob_path(digest)
    original = path.read_bytes()
    path.write_bytes(original[:-2000] + b"?" + original[-1999:])
    try:
        done = image_site.run()
    finally:
        path.write_bytes(original)
    assert done.code == 30
    assert f"nl-nl 2026.04: the SHA-256 of layer 1 of 2 ({digest}) is wrong, also after fetching it again" in done.fault
    assert image_site.run().code == 0


def test_layers_come_from_a_mirror_and_wrong_ones_from_the_origin(
    image_site: Site, mirror: Registry, tmp_path: Path
) -> None:
    layers, repository = [Layer(plain, plain) for plain in (_MODELS, _top("old"))], _repository(image_site)
    (tmp_path / "second").mkdir()
    with serve(tmp_path / "second") as second:
        for registry in (mirror, second):
            registry.push_image(repository, "2026.04", layers)
        name = f"oci://{second.host}/{repository.removesuffix('/nl-nl')}"
        good = image_site.but(MODELS_DIR=f"{image_site.volume}-2").run("--json", MODELS_MIRRORS=name)
        assert good.json["bytes_by_source"][name] == sum(len(layer.blob) for layer in layers)
        path = second.blob_path(f"sha256:{hashlib.sha256(_MODELS).hexdigest()}")
        path.write_bytes(path.read_bytes()[:-1] + b"?")
        done = image_site.run("--json", MODELS_MIRRORS=name)
    assert done.code == 0, done.err
    assert "it sent wrong bytes of nl-nl 2026.04: the SHA-256 of layer 1 of 2" in done.err
    assert done.json["bytes_by_source"][image_site.environment["MODELS_URL"]] >= len(layers[0].blob)
    assert _files(image_site) == ["final", "latest", "removed", "version"]


@pytest.mark.parametrize(
    ("difference", "code", "words"),
    [
        (-1, 30, "the SHA-256 of layer 1 of 1 ("),
        (1, 20, "nl-nl:2026.04 has 1536 bytes, but bytes 0 to 1537 were requested"),
    ],
    ids=["smaller", "larger"],
)
def test_layer_of_another_size_is_reported(
    image_site: Site, mirror: Registry, difference: int, code: int, words: str
) -> None:
    """The manifest of the image states another size than the layer has."""
    repository = _repository(image_site)
    mirror.push_image(repository, "one", [Layer(_REMOVAL, _REMOVAL)])
    _, _, document = mirror.call("GET", f"/v2/{repository}/manifests/one", Accept=oci.IMAGE_MANIFEST)
    content = json.loads(document)
    content["layers"][0]["size"] += difference
    mirror.put_manifest(repository, "2026.04", json.dumps(content).encode())
    done = image_site.run()
    assert done.code == code
    assert words in done.fault


def test_repair_uses_the_installed_image_although_its_tag_was_moved(image_site: Site, mirror: Registry) -> None:
    repository = _repository(image_site)
    mirror.push_image(repository, "2026.04", [Layer(plain, plain) for plain in (_MODELS, _top("old"))])
    assert image_site.run().code == 0
    mirror.push_image(repository, "2026.04", [Layer(plain, plain) for plain in (_MODELS, _top("moved"))])
    (image_site.active("nl-nl") / "version").write_bytes(b"bad")
    done = image_site.run("--repair", "--json")
    assert (done.code, done.json["bytes_fetched"]) == (0, len(_top("old"))), "only the layer of the damaged file"
    assert (image_site.active("nl-nl") / "version").read_text() == "old"


def test_repair_reports_that_the_installed_image_was_deleted(image_site: Site, mirror: Registry) -> None:
    repository = _repository(image_site)
    digest = mirror.push_image(repository, "2026.04", [Layer(plain, plain) for plain in (_MODELS, _top("old"))])
    assert image_site.run().code == 0
    assert mirror.call("DELETE", f"/v2/{repository}/manifests/{digest}")[0] == 202
    mirror.push_image(repository, "2026.04", [Layer(plain, plain) for plain in (_MODELS, _top("moved"))])
    (image_site.active("nl-nl") / "version").write_bytes(b"bad")
    done = image_site.run("--repair")
    assert done.code == 21
    assert f"{mirror.host} no longer has the image {digest} of nl-nl 2026.04; install another version" in done.fault


def test_unsigned_image_is_refused_if_signatures_are_required(image_site: Site, mirror: Registry) -> None:
    mirror.push_image(_repository(image_site), "2026.04", [Layer(_MODELS, _MODELS)])
    done = image_site.run(MODELS_PUBLIC_KEY="RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3")
    assert done.code == 13


def test_image_is_checked_planned_installed_and_verified(image_site: Site, mirror: Registry) -> None:
    """This works if all packs are ordinary images."""
    layers = [Layer.gzip(plain) for plain in (_BASE, _MODELS, _top("old"))]
    mirror.push_image(_repository(image_site), "2026.04", layers)
    common = [Layer.gzip(plain) for plain in (_BASE, layer(regular("models/common/shared", b"shared")))]
    mirror.push_image(_repository(image_site).replace("nl-nl", "common"), COMMON.version, common)
    assert image_site.run("--check").code == 0
    assert image_site.run("--plan", "--json").json["bytes_to_fetch"] > sum(len(layer.blob) for layer in layers)
    assert image_site.run().code == 0
    assert (image_site.active("common") / "shared").read_bytes() == b"shared"
    assert image_site.run("--verify").code == 0
    assert "nothing to do" in image_site.run().out


def test_image_of_an_index_is_installed(image_site: Site, mirror: Registry) -> None:
    repository = _repository(image_site)
    digest = mirror.push_image(repository, "one", [Layer(plain, plain) for plain in (_MODELS, _REMOVAL)])
    _, _, image = mirror.call("GET", f"/v2/{repository}/manifests/one", Accept=oci.IMAGE_MANIFEST)
    entry = {"mediaType": oci.IMAGE_MANIFEST, "digest": digest, "size": len(image)}
    index = {
        "schemaVersion": 2,
        "mediaType": oci.IMAGE_INDEX,
        "manifests": [{**entry, "platform": {"os": "linux", "architecture": "riscv64"}}],
    }
    mirror.put_manifest(repository, "2026.04", json.dumps(index).encode(), oci.IMAGE_INDEX)
    assert image_site.run().code == 0
    assert _files(image_site) == ["final"]


def test_secrets_appear_in_no_output_and_no_file(
    registry_site: Site, packs: Packs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """This holds for the password, tokens and URLs of a data host, even if an image is refused."""
    with serve(tmp_path_factory.mktemp("secrets")) as registry, cloud_registry.serve(registry) as cloud:
        site = _site(registry_site, registry, packs, "models").but(**pull_from(cloud), MODELS_LOG_LEVEL="debug")
        registry.push_image("models/nl-nl", "2026.04", [Layer.gzip(plain) for plain in (_MODELS, _top("old"))])
        registry.push_image("models/nl-nl", "2026.07", [Layer.gzip(layer(link("models/nl-nl/a", "/etc/passwd")))])
        runs = [site.run(), site.run(REALTIME_LANGUAGE_VERSION=NEWER.version)]
        counts = cloud.counts
    assert [done.code for done in runs] == [0, 10]
    texts = [text for done in runs for text in (done.out, done.err)]
    texts += [path.read_text() for path in site.volume.rglob("*.json*")]
    assert len(texts) > 7
    assert [text for text in texts if cloud_registry.PASSWORD in text or leaks(text)] == []
    assert counts["ranges"] > 2
    assert counts["authorization at the data host"] == 0


def test_image_is_not_put_into_a_bundle(image_site: Site, mirror: Registry) -> None:
    mirror.push_image(_repository(image_site), "2026.04", [Layer.gzip(_MODELS)])
    source = OciSource(RegistryAccess(f"http://{mirror.host}", _repository(image_site).rpartition("/")[0]))
    request = BundleRequest((DUTCH,), "site", {}, 0, None, (), ())
    with pytest.raises(UsageError, match="a bundle cannot contain the ordinary image of nl-nl"):
        asyncio.run(plan_bundle(request, source, AcceptUnsigned()))


def test_other_directory_of_the_image_is_installed(image_site: Site, mirror: Registry) -> None:
    content = layer(regular("opt/packs/nl-nl/final", b"weights"))
    mirror.push_image(_repository(image_site), "2026.04", [Layer.gzip(content)])
    refused = image_site.run()
    assert refused.code == 10
    assert "it contains nothing below /models/nl-nl or /models; at its top are 'opt'" in refused.fault
    assert image_site.run(MODELS_IMAGE_PATH="/opt/packs/{pack}").code == 0
    assert _files(image_site) == ["final"]


def test_invalid_entry_is_reported_and_nothing_is_installed(image_site: Site, mirror: Registry) -> None:
    upper = layer(link("models/nl-nl/passwd", "/etc/passwd"))
    mirror.push_image(_repository(image_site), "2026.04", [Layer.gzip(plain) for plain in (_MODELS, upper)])
    done = image_site.run()
    digest = hashlib.sha256(Layer.gzip(upper).blob).hexdigest()[:12]
    assert done.code == 10
    assert done.fault == (
        f"nl-nl 2026.04: the image cannot be used: layer 2 of 2 (sha256:{digest}…): 'models/nl-nl/passwd' is a "
        "symbolic link to '/etc/passwd', out of the directory of the pack, /models/nl-nl; set MODELS_IMAGE_PATH if the "
        "pack is in another directory of it, or ask the publisher for a pack that `models-pack upload` has published"
    )
    assert not (image_site.volume / "current").exists()
    assert not (image_site.volume / "packs/nl-nl").exists()
