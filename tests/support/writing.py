"""A process that writes: it tells a user one number after the other, and says in the end how many were stored.

    python tests/support/writing.py SETTINGS.json USER SECONDS

One line is said when it is ready; it begins when one is read.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from soulwatch.host.host import Host
from soulwatch.host.settings import Settings, load_settings

TELLERS = 3
"""So many write at once, as several users of one process do."""


def say(**what: Any) -> None:
    """One line for whoever started this process."""
    print(json.dumps(what), flush=True)


async def tell(host: Host, user: str, seconds: float) -> dict[str, Any]:
    """The numbers that were stored, which errors there were, and the longest that anybody waited."""
    until = time.monotonic() + seconds
    stored: list[int] = []
    errors: Counter[str] = Counter()
    longest = 0.0

    async def one(first: int) -> None:
        nonlocal longest
        number = first
        while (begun := time.monotonic()) < until:
            try:
                await host.send_to_user(user, {"type": "note", "number": number})
                stored.append(number)
            except Exception as broken:  # noqa: BLE001  - said, and then the test fails
                errors[f"{type(broken).__name__}: {broken}"] += 1
            longest = max(longest, time.monotonic() - begun)
            number += TELLERS

    async with anyio.create_task_group() as group:
        for first in range(TELLERS):
            group.start_soon(one, first)
    return {"stored": stored, "errors": errors, "longest": round(longest, 2)}


async def main(settings: Settings, user: str, seconds: float) -> None:
    host = await Host.open(settings)
    try:
        say(is_ready=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        say(**await tell(host, user, seconds))
    finally:
        await host.close()


if __name__ == "__main__":
    given = Path(sys.argv[1])
    decided = load_settings(overrides=json.loads(given.read_text()), env={}, cwd=given.parent)
    anyio.run(main, decided, sys.argv[2], float(sys.argv[3]))
