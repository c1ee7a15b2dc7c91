"""Build a bundle's site files: installation instructions and script, compose files, variables, the vendor's files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.units import human_size, table
from models_init.formats.bundle_index import SITE_DIRECTORY
from models_init.publish.bundle.contents import BundleDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.publish.bundle.contents import ContainerImage

OVERLAY = "docker-compose.realtime.bundle.yml"
VARIABLES_FILE = "site.env"

PACK_VARIABLES = (
    "REALTIME_LANGUAGES",
    "REALTIME_LANGUAGE",
    "REALTIME_LANGUAGE_VERSION",
    "REALTIME_COMMON_VERSION",
    "WHISPER_VARIANT",
    "WHISPER_VERSION",
)
_IMAGE_VARIABLES = ("REALTIME_REGISTRY", "REALTIME_IMAGE_TAG", "MODELS_INIT_TAG", "REALTIME_GATEWAY_IMAGE")
_TEMPLATES = Path(__file__).parents[1] / "site"
_FILE_LIMIT = 64 << 20  # bytes; these files are kept in memory
_is_plain = re.compile(r"[A-Za-z0-9._/:@,+-]*\Z").match
_is_path = re.compile(r"(?!/)(?:(?!\.{1,2}/)[^/\x00-\x1f\x7f]+/)*(?!\.{1,2}\Z)[^/\x00-\x1f\x7f]+\Z").match


@dataclass(frozen=True, slots=True)
class SiteFiles:
    """The files in bundle order, and the environment variables that select the packs."""

    documents: tuple[BundleDocument, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExtraFiles:
    """The vendor's files: `compose` in the order of `COMPOSE_FILE`, `others` with their paths at the site."""

    compose: Sequence[Path]
    others: Sequence[tuple[Path, str]]


def build_site_files(
    environment: Mapping[str, str],
    packs: Iterable[PackRef],
    extras: ExtraFiles,
    bundle: str,
    images: Sequence[ContainerImage],
) -> SiteFiles:
    """Read the vendor's files and generate the others.

    Raises `UsageError`: a file cannot be read or is too large, or a name or value is not allowed.
    """
    variables = {name: environment[name] for name in PACK_VARIABLES if environment.get(name)}
    compose = [path.name for path in extras.compose]
    files = [(path, path.name) for path in extras.compose] + list(extras.others)
    if compose:
        files.append((_TEMPLATES / OVERLAY, OVERLAY))
    documents = [
        BundleDocument("INSTALL.md", _instructions(bundle, packs, images, compose)),
        BundleDocument("install.sh", (_TEMPLATES / "install.sh").read_bytes()),
        BundleDocument(SITE_DIRECTORY + VARIABLES_FILE, _variables(environment, variables, compose, bundle)),
    ]
    for path, name in files:
        if not _is_path(name):
            raise UsageError(f"{name!r} cannot be the name of {path} at the site: use a relative path without '..'")
        documents.append(BundleDocument(SITE_DIRECTORY + name, _content(path)))
    return SiteFiles(tuple(documents), variables)


def _variables(environment: Mapping[str, str], packs: Mapping[str, str], compose: list[str], bundle: str) -> bytes:
    images = {name: environment[name] for name in _IMAGE_VARIABLES if environment.get(name)}
    files = {"COMPOSE_FILE": ":".join([*compose, OVERLAY])} if compose else {}
    found = {**packs, **images, **files, "MODELS_BUNDLE": bundle}
    for name, value in found.items():
        if not _is_plain(value):
            remedy = {"MODELS_BUNDLE": "choose another --out", "COMPOSE_FILE": "rename the compose file"}
            raise UsageError(
                f"{name}={value} contains a character that an env file cannot hold; "
                f"{remedy.get(name, 'change the variable')}"
            )
    return "".join(f"{name}={value}\n" for name, value in found.items()).encode()


def _instructions(bundle: str, packs: Iterable[PackRef], images: Sequence[ContainerImage], compose: list[str]) -> bytes:
    rows = [(image.reference, human_size(image.size)) for image in images]
    docker = "INSTALL-compose.md" if compose else "INSTALL-images.md" if images else ""
    return (
        _template("INSTALL.md")
        .substitute(
            bundle=bundle,
            packs="\n".join(f"- {ref.name} {ref.version}" for ref in packs),
            images="```\n" + table(rows, ("IMAGE", "SIZE")) + "\n```" if rows else "None.",
            docker=_template(docker).substitute(bundle=bundle) if docker else "",
        )
        .encode()
    )


def _template(name: str) -> Template:
    return Template((_TEMPLATES / name).read_text(encoding="utf-8"))


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > _FILE_LIMIT:
            raise UsageError(f"{path} is larger than {human_size(_FILE_LIMIT)}: deliver it separately from the bundle")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; name a readable file") from error
