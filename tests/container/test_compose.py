"""Compose starts the init container and then the engine, with real Docker and a real blob service."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import datetime
from typing import TYPE_CHECKING, Any

from models_init.core.units import parse_size
from tests.container.daemon import until
from tests.container.site import BUCKET, ENGINE, HOST_NETWORK, INIT, NO_NETWORK, ONPREM, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.container.site import ContainerSite
    from tests.services.azurite import Azurite


def ask(site: ContainerSite, service: str = ENGINE) -> dict[str, Any]:
    """Return the packs that the engine reports once it listens."""
    found: dict[str, Any] = {}

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://{site.address(service)}/", timeout=5) as response:
                found.update(json.load(response))
        except OSError:
            return False
        return True

    until(answers, f"an answer of {service}")
    return found


def seconds(site: ContainerSite, service: str = INIT) -> float:
    """Return how long the container ran."""
    state = site.container(service)["State"]
    start, end = (datetime.fromisoformat(state[key]) for key in ("StartedAt", "FinishedAt"))
    return (end - start).total_seconds()


def report(site: ContainerSite) -> tuple[int, int]:
    """Return the bytes fetched and reused by the last result of init; dockerd may reorder lines of two streams."""
    found = re.findall(r"([\d.]+ \w+) fetched, ([\d.]+ \w+) reused", "\n".join(site.log()))
    assert found, site.log()[-5:]
    fetched, reused = found[-1]
    return parse_size(fetched), parse_size(reused)


def archives(bucket: Azurite, seen: int = 0) -> set[str]:
    """Return the archives that were requested after that many requests."""
    asked = {request.path for request in bucket.requests()[seen:] if request.method == "GET"}
    return {path.removesuffix("/pack.tar.zst") for path in asked if path.endswith("/pack.tar.zst")}


def test_engine_starts_after_init_has_installed(site: ContainerSite, stocked: Azurite) -> None:
    """`up` on an empty volume: init ends with 0, then the engine starts with the packs and answers on 8890."""
    site.use(stocked)
    site.compose("up", "--detach")
    assert site.container()["State"]["ExitCode"] == 0
    assert ask(site)["packs"] == {"nl-nl": "2026.04", "common": "2026.04"}
    assert "License is valid: stand-in" in site.log(ENGINE)
    assert site.container()["State"]["FinishedAt"] < site.container(ENGINE)["State"]["StartedAt"]
    owner = (site.volume / "packs").stat()
    assert (owner.st_uid, owner.st_gid) == (10001, 10001)


def test_engine_does_not_start_if_init_fails(site: ContainerSite, stocked: Azurite) -> None:
    """The token in a secret file has expired: compose names the service and its code, the last log line the cause."""
    token = stocked.sas(expires_in=-60)
    site.files = [ONPREM, BUCKET, SECRET, HOST_NETWORK]
    secret = site.directory / "config/models-sas-token"
    secret.write_text(token)
    site.use(stocked, token="")
    done = site.try_compose("up", "--detach")
    assert done.code == 1
    assert done.text.endswith(f'service "{INIT}" didn\'t complete successfully: exit 22')
    listed = site.compose("ps", "--all", "--format", "{{.Service}}: {{.State}} ({{.ExitCode}})").splitlines()
    assert set(listed) == {f"{INIT}: exited (22)", f"{ENGINE}: created (0)", "api: running (0)"}
    assert re.search("models-init: error: .*expired", site.log()[-1])
    assert site.container()["RestartCount"] == 0
    outputs = [json.dumps(site.container(service)) for service in (INIT, ENGINE)]
    outputs += [site.compose("config"), *site.log(), done.text]
    signature = token.partition("sig=")[2]
    assert signature
    assert [text for text in outputs if signature in text] == []


def test_second_up_needs_neither_network_nor_token(
    site: ContainerSite, stocked: Azurite, figure: Callable[[str], None]
) -> None:
    """After an install, `up` sends no request and leaves the engine running; it works without a network."""
    site.use(stocked)
    site.compose("up", "--detach")
    started, asked = site.container(ENGINE)["State"]["StartedAt"], len(stocked.requests())
    site.compose("up", "--detach")
    assert site.log()[-1].startswith("nothing to do: release ")
    assert site.container(ENGINE)["State"]["StartedAt"] == started
    figure(f"init with nothing to do: {seconds(site):.2f} s")

    site.files.append(NO_NETWORK)
    site.use(stocked, token="")
    site.compose("up", "--detach")
    assert site.log()[-1].startswith("nothing to do: release ")
    assert len(stocked.requests()) == asked
    figure(f"init with nothing to do and no network: {seconds(site):.2f} s")


def test_upgrade_rollback_and_prune(site: ContainerSite, stocked: Azurite) -> None:
    """An upgrade fetches the difference; the old version or --rollback returns; --prune removes old packs."""
    site.use(stocked)
    site.compose("up", "--detach")
    first = ask(site)["release"]

    asked = len(stocked.requests())
    site.set(REALTIME_LANGUAGE_VERSION="2026.07")
    site.compose("up", "--detach")
    assert ask(site)["packs"] == {"nl-nl": "2026.07", "common": "2026.04"}
    assert archives(stocked, asked) == {"realtime/nl-nl/2026.07"}
    fetched, reused = report(site)
    assert 0 < fetched < reused

    asked = len(stocked.requests())
    site.set(REALTIME_LANGUAGE_VERSION="2026.04")
    site.compose("up", "--detach")
    assert ask(site)["release"] == first
    site.set(REALTIME_LANGUAGE_VERSION="2026.07")
    site.compose("up", "--detach")
    assert ask(site)["packs"]["nl-nl"] == "2026.07"
    assert archives(stocked, asked) == set()

    assert site.run_init("--rollback").startswith(f"rolled back to release {first} (common 2026.04, nl-nl 2026.04); ")
    site.compose("up", "--detach")
    assert site.log()[-1].startswith("ROLLED BACK: ")
    site.compose("restart", ENGINE)
    assert ask(site)["release"] == first

    site.set(REALTIME_LANGUAGE_VERSION="2026.04")
    site.compose("up", "--detach")
    assert "removed  pack     nl-nl 2026.07" in site.run_init("--prune", "--keep", "0")
    assert [path.name for path in (site.volume / "packs/nl-nl").iterdir()] == ["2026.04"]
