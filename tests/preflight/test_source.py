"""Findings of `--check` about a source, its token, and its packs."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import Requirement
from tests.preflight.check_result import ALL, Checked, check
from tests.preflight.mounts import read_only
from tests.publish.packs import built, write
from tests.services import free_port
from tests.services.faults import Headers, throttled
from tests.services.faulty import FOREVER, Fault, FaultyServer
from tests.site import COMMON, DUTCH, NEWER, NOWHERE, archive_key, in_container, manifest_key
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.site import Packs, Site

_NO_SECRET = "RW" + base64.b64encode(b"Ed" + bytes(40)).decode()[2:]


async def served(site: Site, packs: Packs, secret: str, *faults: Fault, **variables: str) -> tuple[Checked, list[str]]:
    """Run the check against a server with the packs; return the result and the requested keys."""
    async with FaultyServer(packs.objects(), faults) as server:
        return await asked_of(server, site, packs, secret, **variables)


async def asked_of(
    server: FaultyServer, site: Site, packs: Packs, secret: str, **variables: str
) -> tuple[Checked, list[str]]:
    """Run the check against the server; return the result and the requested keys."""
    there = site.but(**{**in_container(packs, server.url, secret), **variables})
    found = await asyncio.to_thread(check, there)
    return found, [seen.key for seen in server.seen]


def moment(seconds: float) -> str:
    """Return a time `seconds` from now in the format of tokens."""
    return f"{datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"


# -- no failures


@pytest.fixture(params=["directory", "container"])
def either(request: pytest.FixtureRequest, site: Site, packs: Packs) -> Site:
    """The same site with each kind of source."""
    if request.param == "directory":
        return site
    container: Azurite = request.getfixturevalue("container")
    return site.but(**in_container(packs, container.container_url, container.sas(expires_in=100 * 3600)))


def test_all_checks_pass(either: Site, packs: Packs) -> None:
    """Every check has a line, and the figures are those of an install."""
    found = check(either)
    assert (found.code, list(found.states)) == (0, ALL)
    assert found.named("failed") + found.named("warning") == []
    assert list(found.content) == [
        "ready", "up_to_date", "exit_code", "source", "volume", "checks", "bytes_to_fetch", "disk_bytes_needed",
        "disk_bytes_free",
        "inodes_needed", "inodes_free", "token_expires", "clock_ahead_seconds", "bytes_per_second", "seconds_to_fetch",
    ]  # fmt: skip
    archives = sum(packs.manifest(ref).archive.size for ref in (COMMON, DUTCH))
    assert 0.9 * archives < found.content["bytes_to_fetch"] <= archives
    assert found.content["seconds_to_fetch"] > 0
    assert not (either.volume / "current").exists()


def test_report_fits_on_24_lines(either: Site) -> None:
    done = either.run("--check")
    lines = done.out.splitlines()
    assert (done.code, done.err) == (0, "")
    assert [line.partition("  ")[0] for line in lines[:-2]] == ["CHECK", *ALL]
    assert lines[-1] == "ready to install"
    assert len(lines) < 24
    assert leaks(done.out) == []


def test_certificate_and_ca_file_are_reported(
    site: Site, packs: Packs, azurite_tls: Azurite, certificates: Certificates
) -> None:
    """The protocol, the issuer and the CA file are named; without that file, the exit code is 20."""
    secure = site.but(**in_container(packs, azurite_tls.container_url, azurite_tls.sas()))
    authority = str(certificates.authority)
    assert "TLSv1.3, certificate by " in (text := check(secure, MODELS_CA_FILE=authority).text("source"))
    assert text.endswith(f"trusted by {authority}")
    refused = check(secure)
    assert (refused.code, refused.named("failed")) == (20, ["source"])
    assert "is not trusted" in refused.text("source")
    unreadable = check(secure, MODELS_CA_FILE="/nowhere/ca.pem")
    assert (unreadable.code, unreadable.named("failed")) == (2, ["source"])
    assert "MODELS_CA_FILE=/nowhere/ca.pem cannot be read" in unreadable.text("source")


# -- the environment


async def test_invalid_settings_do_not_hide_other_failures(site: Site, packs: Packs) -> None:
    """All malformed settings are reported with exit code 2; volume, source and token are checked as well."""
    old = token(se="2020-01-01T00:00:00Z")
    found, _ = await served(site, packs, old, REALTIME_COMMON_VERSION="", MODELS_CONNECTIONS="many")
    assert found.code == 2
    assert found.text("environment").splitlines() == [
        "MODELS_CONNECTIONS=many is not a whole number from 1 to 64",
        "REALTIME_COMMON_VERSION is not set; set it to the version that your license names, e.g. 2026.04",
    ]
    assert found.named("failed") == ["environment", "token"]
    assert [found.states[name] for name in ("volume", "source", "packs")] == ["ok", "ok", "skipped"]


def test_invalid_url_skips_source_checks(site: Site) -> None:
    """If MODELS_URL is invalid, no source is contacted."""
    found = check(site, MODELS_URL="ftp://models")
    assert (found.code, found.named("failed")) == (2, ["environment"])
    assert found.states["source"] == found.states["token"] == found.states["pack common"] == "skipped"


def test_unreadable_key_file_fails_and_other_checks_run(site: Site) -> None:
    found = check(site, MODELS_PUBLIC_KEY_FILE="/nowhere/keys.pub")
    assert (found.code, found.named("failed")) == (2, ["keys"])
    assert found.states["pack nl-nl"] == "ok"


def test_all_failures_are_reported_together(site: Site, packs: Packs) -> None:
    """A read-only volume, an unreachable server and a bad setting are all reported; the first decides the exit code."""
    site.volume.mkdir()
    wrong = site.but(**in_container(packs, f"http://127.0.0.1:{free_port()}/models", token(sp="w")))
    found = check(wrong, read_only(site.volume), MODELS_MEMORY="little")
    assert (found.code, found.named("failed")) == (2, ["environment", "volume", "source", "token"])
    assert check(wrong, read_only(site.volume)).code == 43
    assert check(wrong).code == 20


# -- the token


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"se": "2020-01-01T00:00:00Z"}, "the token expired at 2020-01-01 00:00:00 UTC"),
        ({"st": "2090-01-01T00:00:00Z"}, "the token is not valid before 2090-01-01"),
        ({"sp": "wl"}, "the token has no permission to read (sp=wl)"),
        ({"sr": "b"}, "the token is for one blob"),
        ({"sig": "cut"}, "the token has a broken signature"),
        ({"spr": "https"}, "the token is for https only (spr=https)"),
    ],
)
async def test_unusable_token_is_reported_before_any_request(
    site: Site, packs: Packs, fields: dict[str, str], says: str
) -> None:
    """The exit code is 22, and no object is requested with the token."""
    found, asked = await served(site, packs, token(**fields))
    assert (found.code, found.named("failed")) == (22, ["token"])
    assert found.text("token").startswith(says)
    assert found.states["source"] == "ok"
    assert found.text("pack common") == "the check of the token failed"
    assert set(asked) == {""}


def test_token_of_another_container_is_reported(site: Site, packs: Packs, container: Azurite) -> None:
    """A fault that the token does not show is found by the service: exit code 22."""
    stranger = container.fresh_container()
    found = check(site.but(**in_container(packs, container.container_url, stranger.sas())))
    assert (found.code, found.named("failed")) == (22, ["token"])
    assert "does not fit the container" in found.text("token")
    assert found.text("pack nl-nl") == "the token was refused"


@pytest.mark.parametrize(("variables", "says"), [({}, "is not set"), ({"MODELS_SAS_TOKEN_FILE": "/no"}, "cannot be")])
async def test_missing_token_is_reported(site: Site, packs: Packs, variables: dict[str, str], says: str) -> None:
    """A token that is not set, or whose file does not exist, is exit code 2."""
    found, _ = await served(site, packs, "", **variables)
    assert (found.code, found.named("failed")) == (2, ["token"])
    assert says in found.text("token")


_EXPIRED = {"se": "2020-01-01T00:00:00Z"}


async def test_expired_token_is_a_warning_if_release_is_current(site: Site, packs: Packs) -> None:
    """A start has nothing to do and needs no token, so nothing has failed."""
    assert site.run().code == 0
    expired = site.but(**in_container(packs, NOWHERE, token(**_EXPIRED)))
    found = await asyncio.to_thread(check, expired)
    assert (found.code, found.content["up_to_date"], found.named("failed")) == (0, True, [])
    assert found.named("warning") == ["source", "token"]
    assert found.text("token").startswith("not needed now, but the token expired at 2020-01-01 00:00:00 UTC; ")
    verdict = expired.run("--check").out.splitlines()[-1]
    assert verdict.startswith("nothing to do: release ")
    assert verdict.endswith(" is current, 2 warnings")
    assert expired.run().code == 0


async def test_expired_token_is_a_warning_after_rollback(site: Site, packs: Packs) -> None:
    """A start keeps the release that the operator chose, and needs no token."""
    assert site.run().code == 0
    newer = site.but(REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert newer.run().code == 0
    assert newer.run("--rollback").code == 0
    found, _ = await served(newer, packs, token(**_EXPIRED), REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert (found.code, found.content["up_to_date"], found.named("warning")) == (0, True, ["token"])


async def test_expired_token_is_a_warning_if_all_packs_are_installed(site: Site, packs: Packs) -> None:
    """An install only activates the packs that the volume has."""
    assert site.run().code == 0
    assert site.run(REALTIME_LANGUAGE_VERSION=NEWER.version).code == 0
    found, _ = await served(site, packs, token(**_EXPIRED))
    assert (found.code, found.content["up_to_date"], found.named("warning")) == (0, False, ["token"])
    assert site.run(**in_container(packs, NOWHERE, token(**_EXPIRED))).code == 0


def test_other_failures_are_warnings_if_release_is_current(site: Site) -> None:
    """A start with nothing to do needs no writable volume, no key file and no source."""
    assert site.run().code == 0
    away = site.but(MODELS_URL="file:///nowhere/packs", MODELS_PUBLIC_KEY_FILE="/nowhere/keys.pub")
    found = check(away, read_only(site.volume))
    assert (found.code, found.named("failed")) == (0, [])
    assert set(found.named("warning")) == {"keys", "volume", "source"}
    assert away.run(through=read_only(site.volume)).code == 0


def test_invalid_settings_fail_even_if_release_is_current(site: Site) -> None:
    """Every run validates all settings."""
    assert site.run().code == 0
    found = check(site, MODELS_CONNECTIONS="many")
    assert (found.code, found.named("failed")) == (2, ["environment"])
    assert site.run(MODELS_CONNECTIONS="many").code == 2


async def test_token_expiring_within_a_day_is_a_warning(site: Site, packs: Packs) -> None:
    """The token is valid long enough for this install; a warning and the JSON object report its expiry."""
    expires = moment(3 * 3600 - 30)
    found, _ = await served(site, packs, token(se=expires, sip="127.0.0.1"))
    assert (found.code, found.named("warning")) == (0, ["token"])
    assert "for the container, permissions rl, only from IP 127.0.0.1; expires " in found.text("token")
    assert "2 h 59 min: get a new token" in found.text("token")
    assert datetime.fromisoformat(found.content["token_expires"]) == datetime.fromisoformat(expires)


async def test_token_expiring_during_install_is_a_warning(site: Site, packs: Packs) -> None:
    """If the token expires too early at the measured rate, a warning has the time until which it is needed."""
    found, _ = await served(site, packs, token(se=moment(60)), MODELS_MAX_RATE="100KB")
    assert (found.code, found.named("warning")) == (0, ["token"])
    assert "the install would end later, at about " in found.text("token")
    assert 50e3 < found.content["bytes_per_second"] < 150e3


async def test_token_is_judged_by_the_clock_of_the_service(site: Site, packs: Packs) -> None:
    """A clock that is ahead is a warning, and a token that is expired only by that clock is valid."""
    there = datetime.now(UTC) - timedelta(hours=5)
    clock = Headers(headers={"Date": format_datetime(there, usegmt=True)}, times=FOREVER)
    found, _ = await served(site, packs, token(se=moment(-3600)), clock)
    assert (found.code, found.named("warning")) == (0, ["clock", "token"])
    assert "ahead of the service's clock; set it" in found.text("clock")
    assert 5 * 3600 - 5 < found.content["clock_ahead_seconds"] < 5 * 3600 + 60


# -- connecting to the source


@pytest.mark.parametrize(
    ("url", "says"),
    [(NOWHERE, "the host name models.invalid cannot be resolved"), ("http://127.0.0.1:PORT/none", "cannot be reached")],
)
def test_unreachable_source_is_reported_within_seconds(site: Site, packs: Packs, url: str, says: str) -> None:
    """The exit code is 20 after about a second, not after minutes; no further requests are made."""
    url = url.replace("PORT", str(free_port()))
    found = check(site.but(**in_container(packs, url, token())))
    assert (found.code, found.named("failed")) == (20, ["source"])
    assert says in found.text("source")
    assert found.text("pack common") == "the check of the source failed"


def test_unreachable_proxy_is_reported(site: Site, packs: Packs) -> None:
    """The proxy is reported, with exit code 20."""
    proxy = f"http://user:{token()}@127.0.0.1:{free_port()}"
    away = site.but(**in_container(packs, "http://10.0.0.1/models", token()), MODELS_ALLOW_HTTP="yes")
    found = check(away, http_proxy=proxy)
    assert (found.code, found.text("source")) == (20, "the proxy cannot be reached; check HTTP_PROXY")


async def test_proxy_is_named(site: Site, packs: Packs) -> None:
    """The proxy in use is reported, without its credentials."""
    away = site.but(**in_container(packs, "http://models.example/models", token()), MODELS_ALLOW_HTTP="yes")
    async with FaultyServer({}) as proxy:
        address = proxy.url.removeprefix("http://").partition("/")[0]
        found = await asyncio.to_thread(check, away, http_proxy=f"http://user:kanarie@{address}")
    assert found.text("source") == f"reached models.example, through the proxy {address}, without encryption"
    assert found.states["pack nl-nl"] == "failed"


async def test_useless_no_proxy_entries_are_a_warning(site: Site, packs: Packs) -> None:
    """One line lists them all, and the install is possible; for a directory, NO_PROXY does not matter."""
    variables = {"NO_PROXY": "10.0.*, 127.0.0.1, http://user:kanarie@host"}
    found, _ = await served(site, packs, token(), **variables)
    assert (found.code, "proxy" in found.named("warning")) == (0, True)
    assert found.text("proxy") == "entries of NO_PROXY that cannot match any server: 10.0.*, ***@host"
    assert "proxy" not in check(site, **variables).states


async def test_transient_error_is_retried(site: Site, packs: Packs) -> None:
    found, _ = await served(site, packs, token(), throttled(times=1))
    assert found.code == 0


def test_missing_source_directory_is_reported(site: Site) -> None:
    """An unmounted share is exit code 20."""
    found = check(site, MODELS_URL="file:///nowhere/packs")
    assert (found.code, found.named("failed")) == (20, ["source"])


# -- the packs


def test_unknown_version_is_reported_with_available_ones(either: Site) -> None:
    """The available versions are listed, the exit code is 21, and the other pack is still checked."""
    found = check(either, REALTIME_LANGUAGE_VERSION="2027.01")
    assert (found.code, found.named("failed")) == (21, ["pack nl-nl"])
    assert "versions of nl-nl are: 2026.04, 2026.07" in found.text("pack nl-nl")
    assert found.states["pack common"] == "ok"
    assert [found.states[name] for name in ("set", "plan", "space", "rate")] == ["skipped"] * 4


async def test_incomplete_packs_are_reported_each(site: Site, packs: Packs) -> None:
    """A broken manifest and a missing or truncated archive, which are publisher errors, are reported per pack."""
    objects = packs.objects()
    objects[manifest_key(COMMON)] = b"{}"
    objects[archive_key(DUTCH)] = objects[archive_key(DUTCH)][:-1]
    async with FaultyServer(objects) as server:
        found, _ = await asked_of(server, site, packs, token())
        assert (found.code, found.named("failed")) == (10, ["pack common", "pack nl-nl"])
        assert {entry["check"]: entry["exit_code"] for entry in found.content["checks"]}["pack nl-nl"] == 20
        del server.objects[archive_key(DUTCH)]
        found, _ = await asked_of(server, site, packs, token())
        assert {entry["check"]: entry["exit_code"] for entry in found.content["checks"]}["pack nl-nl"] == 21


def test_unsigned_packs_are_reported(site: Site) -> None:
    """With a trusted key set, a pack without a signature is exit code 13, as in an install."""
    found = check(site, MODELS_PUBLIC_KEY=_NO_SECRET)
    assert (found.code, found.named("failed")) == (13, ["pack common", "pack nl-nl"])


def test_incompatible_versions_are_reported(site: Site, packs: Packs, tmp_path: Path) -> None:
    """The exit code is 12, with the compatible versions; the required space is still reported."""
    directory = shutil.copytree(packs.directory, tmp_path / "packs")
    shutil.rmtree(directory / DUTCH.name / DUTCH.version)
    tree = write(tmp_path / "tree", {"a": b"b"})
    built(tree, directory, DUTCH, requires=(Requirement(COMMON.name, ("2026.07",)),))
    found = check(site, MODELS_URL=directory.as_uri())
    assert (found.code, found.named("failed")) == (12, ["set"])
    assert "nl-nl 2026.04 works with common 2026.07" in found.text("set")
    assert found.states["space"] == "ok"
    assert json.dumps(found.content["bytes_to_fetch"]).isdecimal()
