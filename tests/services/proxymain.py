"""Command line of the fault proxy, used by `scripts/fault-proxy`."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from typing import TYPE_CHECKING

from tests.services.faultproxy import FaultProxy
from tests.services.faulty import FOREVER
from tests.services.proxyfaults import CATALOGUE, fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.services.faultproxy import ProxyFault
    from tests.services.faulty import Seen

_EXAMPLE = """example:
  scripts/fault-proxy --to https://ACCOUNT.blob.core.windows.net --listen 8080 --fault stall --fault 503=2 &
  MODELS_URL=http://127.0.0.1:8080/models models-init
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run until interrupted, then print the bytes sent and the faults applied."""
    options = _parser().parse_args(arguments)
    limits = {"on": options.on, "times": options.times, "after": options.after}
    faults = [fault(*text.partition("=")[::2], **limits) for text in options.fault]
    proxy = FaultProxy(options.to, *faults, share=options.share, seed=options.seed, port=options.listen)
    proxy.on_fault = _tell
    asyncio.run(_serve(proxy))
    _say(f"{proxy.carried} bytes to clients, {len(proxy.seen)} requests")
    for met in proxy.faults:
        _say(f"{met.name:<12} {met.met}")


def _parser() -> argparse.ArgumentParser:
    names = "\n".join(f"  {name:<12} {description}" for name, (description, _) in CATALOGUE.items())
    parser = argparse.ArgumentParser(
        prog="scripts/fault-proxy",
        description="Passes HTTP requests on to a server and spoils some of the answers.",
        epilog=f"faults, each with what its value means:\n{names}\n\n{_EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--to", required=True, metavar="ORIGIN", help="the server: http(s)://HOST[:PORT]")
    parser.add_argument("--listen", type=int, required=True, metavar="PORT", help="where clients connect, on loopback")
    parser.add_argument("--fault", action="append", default=[], type=_known, metavar="NAME[=VALUE]", help="see below")
    parser.add_argument("--share", type=float, default=0.05, help="of the answers, how many are spoiled (0.05)")
    parser.add_argument("--seed", default="0", help="which ones (0)")
    parser.add_argument("--on", default="*", metavar="PATTERN", help="only answers for such paths, e.g. '*.tar.zst'")
    parser.add_argument("--times", type=int, default=FOREVER, help="each fault at most so often")
    parser.add_argument("--after", type=int, default=0, metavar="BYTES", help="only after so many went to clients")
    return parser


def _known(text: str) -> str:
    name = text.partition("=")[0]
    if name not in CATALOGUE:
        raise argparse.ArgumentTypeError(f"there is no fault {name!r}")
    return text


async def _serve(proxy: FaultProxy) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with proxy:
        _say(f"listening at {proxy.origin}")
        await ended.wait()


def _tell(met: ProxyFault, seen: Seen) -> None:
    """Print the request that a fault affected, without its query, which may contain a token."""
    _say(f"{met.name} on {seen.method} {seen.path} {seen.headers.get('range', '')}")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
