"""One worker with very many connections: first they are given to it, then it keeps them fresh.

python tests/bench/busy_worker.py give TASK.json        (puts the connections into the database)
python tests/bench/busy_worker.py work TASK.json        (lives through the hours; prints what that took)
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from support.many import LIFE, POLICY, give, refreshing_host
from support.skipping import SkippingClock

from soulwatch.host.host import Host
from soulwatch.host.settings import load_settings
from soulwatch.host.store.tables import attempts, connections
from soulwatch.host.timing import LONGEST_SPREAD
from soulwatch_sandbox.papers import Issued

STARTS_WITHIN_S = 10


async def give_all(host: Host, task: dict[str, Any], granted: list[dict[str, Any]]) -> None:
    """Connections made one after the other; none is due before the worker begins."""
    first = host.clock.now() - LIFE + POLICY.margin + LONGEST_SPREAD + timedelta(seconds=STARTS_WITHIN_S)
    apart = timedelta(minutes=task["connected_within"]) / len(granted)
    await give(host, (Issued(**one) for one in granted), lambda number: first + number * apart)


async def work(host: Host, task: dict[str, Any]) -> dict[str, Any]:
    """What it cost, and how late each refresh was."""
    clock = host.clock
    assert isinstance(clock, SkippingClock)
    clock.watch(host)
    async with host.database.reading() as transaction:
        query = select(connections.c.id, connections.c.token_issued_at)
        issued = {row.id: row.token_issued_at for row in await transaction.execute(query)}
    begun, cpu_s = time.perf_counter(), time.process_time()
    async with clock.running(), host.working():
        await clock.sleep(3600 * task["hours"])
    took_s, cpu_s, idle_s = time.perf_counter() - begun, time.process_time() - cpu_s, clock.skipped_s
    return {"took_s": took_s, "cpu_s": cpu_s, "idle_s": idle_s, "peak": peak(), **await judged(host, issued)}


def peak() -> float:
    """The most memory this process ever had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


async def judged(host: Host, issued: dict[str, datetime]) -> dict[str, Any]:
    """How late each refresh began by its plan, and how long before the end of the old token it was done."""
    late_s, left_s = [], []
    query = select(attempts).order_by(attempts.c.id)
    async with host.database.reading() as transaction:
        for row in await transaction.execute(query):
            assert row.state == "applied", f"a refresh ended {row.state}: {row.detail}"
            before = issued[row.connection_id]
            plan = POLICY.next_refresh(row.connection_id, before, before + LIFE)
            late_s.append((row.started_at - plan).total_seconds())
            left_s.append((before + LIFE - row.finished_at).total_seconds())
            issued[row.connection_id] = row.finished_at
        overdue = select(func.count()).where(connections.c.token_expires_at < host.clock.now() + timedelta(minutes=5))
        too_late = (await transaction.execute(overdue)).scalar_one()
    return {"late_s": late_s, "least_left_s": min(left_s), "too_late": too_late}


async def main(what: str, task: dict[str, Any], granted: list[dict[str, Any]]) -> None:
    async with refreshing_host(load_settings(overrides=task["settings"], env={}), SkippingClock()) as host:
        if what == "give":
            await give_all(host, task, granted)
        else:
            print(json.dumps(await work(host, task)))


if __name__ == "__main__":
    asked = json.loads(Path(sys.argv[2]).read_text())
    to_give = json.loads(Path(asked["granted"]).read_text()) if sys.argv[1] == "give" else []
    asyncio.run(main(sys.argv[1], asked, to_give))
