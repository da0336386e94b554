"""A process of callers: it opens a host of its own, and whenever it is told, all its callers ask for a token at once.

    python tests/support/calling.py SETTINGS.json CALLERS

One line is read for each round, one line of JSON is said before the first and after each.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from soulwatch import SoulwatchError
from soulwatch.host.host import Host
from soulwatch.host.settings import Settings, load_settings
from soulwatch.host.timing import RefreshPolicy

WHOSE = ("ada", "sandbox")
PATIENT = RefreshPolicy(wait=timedelta(minutes=1))
"""The usual one, but for a machine that is slow: a thousand callers wait for the one who was first."""


def say(**what: Any) -> None:
    """One line for whoever started this process."""
    print(json.dumps(what), flush=True)


async def all_at_once(host: Host, callers: int) -> dict[str, dict[str, int]]:
    """How many callers were given which token, and how many heard which error."""
    tokens: Counter[str] = Counter()
    errors: Counter[str] = Counter()

    async def call() -> None:
        try:
            tokens[(await host.ensure_fresh_token(*WHOSE)).access] += 1
        except SoulwatchError as broken:
            errors[f"{type(broken).__name__}: {broken}"] += 1

    async with anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(call)
    return {"tokens": tokens, "errors": errors}


async def main(settings: Settings, callers: int) -> None:
    host = await Host.open(settings, policy=PATIENT)
    try:
        say(is_ready=True)
        while await anyio.to_thread.run_sync(sys.stdin.readline):
            say(**await all_at_once(host, callers))
    finally:
        await host.close()


if __name__ == "__main__":
    given = Path(sys.argv[1])
    anyio.run(main, load_settings(overrides=json.loads(given.read_text()), env={}, cwd=given.parent), int(sys.argv[2]))
