"""Publish packs in a blob container or a container registry; a published version is never changed.

The archive is sent first, the manifest last. The token of a container (permissions r and w) comes from MODELS_SAS_TOKEN
or MODELS_SAS_TOKEN_FILE, the user of a registry from MODELS_REGISTRY_USERNAME and MODELS_REGISTRY_PASSWORD or
MODELS_REGISTRY_PASSWORD_FILE. An interrupted upload continues when it is run again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from models_init.cli.settings import load
from models_init.core.errors import UsageError
from models_init.core.redaction import register
from models_init.core.units import human_size
from models_init.publish.cli.arguments import add_directory_of_packs, between
from models_init.publish.cli.progress import bar
from models_init.publish.cli.report import Report, notice
from models_init.publish.pack.version_directory import VersionDirectory, find
from models_init.runtime import event_loop
from models_init.sources.open_source import host_of, is_registry, is_remote

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from models_init.cli.settings import Settings
    from models_init.core.events import Observer
    from models_init.publish.upload.published_version import UploadResult
    from models_init.sources.wrappers.retry import Retrier

NAME = "upload"
HELP = "publish packs in a blob container or a registry"

_VARIABLES = (
    "MODELS_SAS_TOKEN",
    "MODELS_SAS_TOKEN_FILE",
    "MODELS_REGISTRY_USERNAME",
    "MODELS_REGISTRY_PASSWORD",
    "MODELS_REGISTRY_PASSWORD_FILE",
    "MODELS_CA_FILE",
    "MODELS_ALLOW_HTTP",
    "MODELS_RETRY_SECONDS",
)


def configure(parser: ArgumentParser) -> None:
    """Add the arguments."""
    add_directory_of_packs(parser)
    parser.add_argument(
        "--url",
        default="https://scriptixmodels.blob.core.windows.net/models",
        metavar="URL",
        help="URL of the container, without a token, or of a registry: oci://HOST/PREFIX (%(default)s)",
    )
    parser.add_argument("--prefix", default="realtime/", help="directory of the packs in the container (%(default)s)")
    parser.add_argument(
        "--connections", type=between(1, 64), default=8, metavar="N", help="upload N blocks at once (%(default)s)"
    )
    parser.add_argument(
        "--replace-unfinished",
        action="store_true",
        help="replace the archive of a version whose manifest was never published; not while another upload of it runs",
    )
    parser.add_argument(
        "--replace-signatures",
        action="store_true",
        help="replace published signatures by another key's signatures of the same manifests",
    )
    parser.add_argument(
        "--mount-from", default="", metavar="PREFIX", help="another prefix of the registry that has the same archives"
    )


def run(arguments: Namespace) -> Report:
    """Publish all version directories, one after the other."""
    settings = _settings(arguments)
    found = find(arguments.directory)
    uploaded = event_loop.run(lambda: _upload(found, settings, arguments))
    return Report("\n".join(map(_line, uploaded)), {"packs": [_facts(version) for version in uploaded]})


def _settings(arguments: Namespace) -> Settings:
    values = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    values |= {"MODELS_URL": arguments.url, "MODELS_PREFIX": arguments.prefix or "/"}
    register(values.get("MODELS_REGISTRY_PASSWORD", ""))
    settings = load(values, with_packs=False)
    if not is_remote(settings.url):
        raise UsageError(
            f"--url {settings.url} is not a blob container: to publish in a directory, use `models-pack build --out`"
        )
    return settings


async def _upload(found: list[VersionDirectory], settings: Settings, arguments: Namespace) -> list[UploadResult]:
    if is_registry(settings.url):
        return await _push(found, settings, arguments)
    from models_init.publish.upload.container import UploadTarget, opened
    from models_init.publish.upload.upload import UploadOptions, upload_packs

    token = settings.read_token()
    register(token)
    options = UploadOptions(
        settings.prefix, arguments.connections, arguments.replace_unfinished, arguments.replace_signatures
    )
    notice(f"uploading to {settings.url}/{settings.prefix}")
    with bar("upload") as observer:
        target = UploadTarget(settings.url, token, _retrier(settings, observer), settings.ca_file)
        async with opened(target) as container:
            return await upload_packs(found, container, options, observer)


async def _push(found: list[VersionDirectory], settings: Settings, arguments: Namespace) -> list[UploadResult]:
    from models_init.cli.factory import registry_access
    from models_init.publish.upload.registry import PushOptions, push_all

    notice(f"uploading to {settings.url}")
    with bar("upload") as observer:
        options = PushOptions(_retrier(settings, observer), arguments.mount_from, arguments.replace_signatures)
        return await push_all(found, registry_access(settings), options, observer)


def _retrier(settings: Settings, observer: Observer) -> Retrier:
    """Return the retrier of an upload, which reports retries as an install does."""
    from models_init.cli.retry_report import RetryReport, SourceRetries
    from models_init.sources.wrappers.retry import Retrier, RetryPolicy

    retries = SourceRetries(host_of(settings.url), RetryReport(observer))
    return Retrier(RetryPolicy(seconds=settings.retry_seconds), retries)


def _line(version: UploadResult) -> str:
    if not version.fresh and not version.sent:
        return f"{version.ref}: already published at {version.url}"
    return (
        f"{version.ref}: published at {version.url}: "
        f"{human_size(version.sent)} uploaded ({human_size(version.found)} already there)"
    )


def _facts(version: UploadResult) -> dict[str, object]:
    return {
        "pack": version.ref.name,
        "version": version.ref.version,
        "url": version.url,
        "already_published": not version.fresh,
        "sent": version.sent,
        "found": version.found,
    }
