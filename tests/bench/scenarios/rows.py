"""The table of all scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.scenarios import continued, first_install, growth, installed, lines, sites, upgrades

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bench.bench import Bench, Row

ROWS: dict[str, Callable[[Bench, Row], None]] = {
    "first-http": first_install.first_http,
    "first-tls": first_install.first_tls,
    "azurite": first_install.azurite,
    "azurite-tls": first_install.azurite_tls,
    "registry": first_install.registry,
    "disk": first_install.disk,
    "line": lines.line,
    "upgrade": upgrades.upgrade,
    "in-place": upgrades.in_place,
    "inserted": upgrades.inserted,
    "restart": installed.restart,
    "resume": continued.resume,
    "interrupted": continued.interrupted,
    "verify": installed.verify,
    "back": installed.back,
    "many": first_install.many,
    "growth": growth.growth,
    "sites": sites.sites,
}
"""All scenarios by name, in the order in which they run."""
