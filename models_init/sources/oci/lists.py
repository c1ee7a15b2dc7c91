"""Read the lists of a registry: its repositories, and the tags of one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from models_init.core.errors import NotFoundError, UnavailableError
from models_init.core.pack_ref import PackRef
from models_init.sources.oci.registry import Request
from models_init.sources.oci.tokens import Scope

if TYPE_CHECKING:
    from models_init.sources.oci.registry import Registry, RegistryAccess

_PAGE_LIMIT = 8 << 20  # bytes of one page of a list
_PAGES = 1000
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
_TAGS = "pull,metadata_read"  # Azure's registry lists tags only for tokens with its own permission `metadata_read`


class RegistryLists:
    """The packs and versions at the prefix of `access`."""

    def __init__(self, access: RegistryAccess, registry: Registry) -> None:
        self._access = access
        self._registry = registry

    async def versions(self, pack: str) -> list[str] | None:
        """Return the sorted versions of a pack, or None if the registry does not know the repository."""
        repository = self._access.repository(pack)
        tags = await self._pages(f"/v2/{repository}/tags/list", Scope(repository, _TAGS), "tags")
        return None if tags is None else sorted(tag for tag in set(tags) if _is_version(pack, tag))

    async def packs(self) -> list[str]:
        """Return the sorted names of the repositories at the prefix."""
        prefix = f"{self._access.prefix}/" if self._access.prefix else ""
        found = await self._pages("/v2/_catalog", Scope(""), "repositories")
        names = {name.removeprefix(prefix) for name in found or () if name.startswith(prefix)}
        return sorted(name for name in names if "/" not in name)

    async def _pages(self, path: str, scope: Scope, field: str) -> list[str] | None:
        """Return all entries of a paginated list, or None if the registry does not know the repository."""
        found: list[str] = []
        for _ in range(_PAGES):
            try:
                async with self._registry.send(Request("GET", path, scope)) as response:
                    page = json.loads(await response.body(_PAGE_LIMIT, "a list"))
                    link = _NEXT.search(response.all_values("Link"))
                found += [name for name in page[field] or () if isinstance(name, str)]
            except NotFoundError:
                return None
            except (ValueError, RecursionError, LookupError, TypeError):
                raise UnavailableError(f"{self._registry.host} answered with a list that is not readable") from None
            path = _path(link[1], path) if link else ""
            if not path.startswith("/v2/"):
                break
        return found


def _path(link: str, path: str) -> str:
    """Return path and query of a link, which may be absolute, in a response to a request for `path`."""
    try:
        return urlsplit(urljoin(path, link))._replace(scheme="", netloc="", fragment="").geturl()
    except ValueError:  # brackets that cannot be parsed
        return ""


def _is_version(pack: str, tag: str) -> bool:
    """Return True unless the tag is one that tools set (`latest`, signatures such as `sha256-<hex>.sig`)."""
    if tag == "latest" or re.match(r"sha256-[0-9a-f]{64}", tag):
        return False
    try:
        PackRef.make(pack, tag)
    except ValueError:
        return False
    return True
