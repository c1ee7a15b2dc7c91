"""A large pack is installed within less memory than the compose file allows, and resumed after a stop and a kill."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models_init.core.pack_ref import PackRef
from tests.container.daemon import until
from tests.container.site import INIT, TIGHT
from tests.container.test_compose import ask, report
from tests.publish.packs import built, write
from tests.samples import Shape, write_tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import Popen

    from tests.container.site import ContainerSite
    from tests.services.azurite import Azurite

_GIB = 1 << 30


@pytest.fixture(scope="module")
def gigabyte(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Azurite:
    """A container with a language pack of 1 GiB."""
    directory, bucket = tmp_path_factory.mktemp("gigabyte"), azurite.fresh_container()
    built(write_tree(directory / "nl-nl", Shape.of_size(_GIB)), directory / "out", PackRef("nl-nl", "2026.04"), level=1)
    built(write(directory / "common", {"a": b"b"}), directory / "out", PackRef("common", "2026.04"))
    bucket.put_tree(directory / "out", "realtime/")
    return bucket


class PeakMemory:
    """The peak memory of the container's process, read from the kernel until it ends."""

    def __init__(self, site: ContainerSite) -> None:
        self.mib = 0
        self._status = Path(f"/proc/{site.container()['State']['Pid']}/status")
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def join(self) -> int:
        """Wait for the end of the process; return the peak in MiB."""
        self._reader.join()
        return self.mib

    def _read(self) -> None:
        while True:
            try:
                found = re.search(r"VmHWM:\s+(\d+) kB", self._status.read_text())
            except OSError:
                return
            if not found:  # the process has ended and is not reaped yet
                return
            self.mib = max(self.mib, int(found[1]) >> 10)
            time.sleep(0.02)


def in_the_midst(site: ContainerSite, bucket: Azurite, spans: int) -> Popen[str]:
    """Run `up`; return when `spans` more spans were fetched."""
    before = fetched_spans(bucket)
    up = site.starting()
    until(lambda: up.poll() is not None or fetched_spans(bucket) - before >= spans, "the fetching")
    assert site.container()["State"]["Running"], site.log()[-3:]
    return up


def fetched_spans(bucket: Azurite) -> int:
    """Return the number of requests that returned a part of the archive."""
    return sum(request.path.endswith("pack.tar.zst") and request.status == 206 for request in bucket.requests())


def outcome(up: Popen[str]) -> str:
    """Return the last line of the output of `up`."""
    return up.communicate()[0].splitlines()[-1]


def test_install_resumes_after_stop_and_kill_within_memory(
    site: ContainerSite, gigabyte: Azurite, figure: Callable[[str], None]
) -> None:
    """`docker stop` ends it within 2 s with 143; then, and after a kill, `up` continues; 128 MiB are enough."""
    site.use(gigabyte)
    site.files.append(TIGHT)
    name = f"{site.project}-{INIT}-1"

    up = in_the_midst(site, gigabyte, spans=8)
    began = time.monotonic()
    site.docker.run("stop", "--time=2", name)  # after 2 s it would be killed, and end with 137
    figure(f"docker stop took {time.monotonic() - began:.2f} s")
    assert site.container()["State"]["ExitCode"] == 143
    assert outcome(up) == f'service "{INIT}" didn\'t complete successfully: exit 143'

    up = in_the_midst(site, gigabyte, spans=8)
    site.docker.run("kill", name)
    assert outcome(up) == f'service "{INIT}" didn\'t complete successfully: exit 137'
    assert not site.container()["State"]["OOMKilled"]

    up = in_the_midst(site, gigabyte, spans=1)
    peak = PeakMemory(site)
    last = outcome(up)
    assert up.returncode == 0, last
    state, limit = site.container()["State"], site.container()["HostConfig"]["Memory"]
    fetched, reused = report(site)
    figure(f"peak memory {peak.join()} MiB of {limit >> 20}; {site.log()[-1]}")
    assert (state["ExitCode"], state["OOMKilled"], limit) == (0, False, 128 << 20)
    assert reused > 16 << 20
    assert fetched + reused > 0.7 * _GIB
    assert ask(site)["packs"]["nl-nl"] == "2026.04"
