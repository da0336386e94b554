"""`python -m soulwatch_sandbox`: the sandbox as a program of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from soulwatch_sandbox.clients import first_client
from soulwatch_sandbox.rules import POSES
from soulwatch_sandbox.serving import running
from soulwatch_sandbox.world import Sandbox


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stopped."""
    said = _parser().parse_args(arguments)
    with (
        Sandbox(
            said.state,
            seed=said.seed,
            token_life=said.token_life,
            rotation=said.rotation,
            grace=said.grace,
            item_every=said.item_every or None,
            archive_size=said.archive_size,
            people=said.people,
            rate_limit=said.rate_limit and tuple(said.rate_limit),
            links=said.links,
            control_key=said.control_key,
        ) as sandbox,
        suppress(KeyboardInterrupt),
    ):
        asyncio.run(_serve(sandbox, said.host, said.port))
    return 0


async def _serve(sandbox: Sandbox, host: str, port: int) -> None:
    stop = asyncio.Event()
    for one in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows has no signal handlers in its loop
            asyncio.get_running_loop().add_signal_handler(one, stop.set)
    async with running(sandbox, port, host) as url:
        print(_greeting(sandbox, url), flush=True)  # noqa: T201
        await stop.wait()


def _greeting(sandbox: Sandbox, url: str) -> str:
    lines = [f"sandbox ready at {url}", f"control key: {sandbox.control_key}"]
    for pose in POSES:
        client = first_client(pose)
        lines.append(f"{pose}: {url}/{pose}  client {client.id}  secret {client.secret}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="soulwatch-sandbox", description="An invented platform to try soulwatch on.")
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=3002, help="0 takes any free one (default: %(default)s)")
    add("--state", type=Path, help="file that keeps everything issued; without it, memory")
    add("--seed", default="soulwatch", help="what all content is invented from")
    add("--token-life", type=float, default=900, metavar="SECONDS")
    add("--rotation", choices=("none", "grace", "strict"), default="grace")
    add("--grace", type=float, default=60, metavar="SECONDS")
    add("--item-every", type=float, default=20, metavar="SECONDS", help="0: nothing new by itself")
    add("--archive-size", type=int, default=250, metavar="RECORDS")
    add("--people", type=int, default=3)
    add("--rate-limit", type=float, nargs=2, metavar=("REQUESTS", "SECONDS"))
    add("--links", choices=("served", "documented"), default="served")
    add("--control-key", help="what X-Sandbox-Control has to say (default: made up once)")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
