"""What anybody would write first: httpx, a loop, executemany. No tokens, cursors, history, events or crash safety.

python tests/bench/straightforward.py URL DATABASE
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import time

import httpx


async def main(url: str, path: str) -> None:
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE IF NOT EXISTS data (id TEXT PRIMARY KEY, raw TEXT NOT NULL, at TEXT NOT NULL)")
    upsert = "INSERT INTO data VALUES (?, ?, datetime()) ON CONFLICT (id) DO UPDATE SET raw = excluded.raw"
    count, page = 0, 0
    async with httpx.AsyncClient(headers={"Authorization": "Bearer invented"}) as client:
        while page is not None:
            answer = (await client.get(f"{url}/items", params={"page": page})).raise_for_status().json()
            database.executemany(upsert, [(item["id"], json.dumps(item)) for item in answer["items"]])
            database.commit()
            count += len(answer["items"])
            page = answer["next"]
    print(count)


if __name__ == "__main__":
    begun = time.perf_counter()
    asyncio.run(main(*sys.argv[1:]))
    print(time.perf_counter() - begun)
