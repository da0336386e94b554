"""A fast local API: 1 KB records in pages, rendered beforehand, so that it is never the limit.

python tests/bench/server.py RECORDS PER_PAGE      (prints its port)
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

FILLING = "observed from the hill behind the town; " * 18


def record(number: int) -> dict[str, object]:
    return {
        "id": f"r{number:09d}",
        "updated_at": f"2026-11-{number % 28 + 1:02d}T12:00:00Z",
        "author": {"id": number % 997, "name": f"Watcher {number % 997}"},
        "tags": ["sky", "notes", str(number % 7)],
        "text": f"{number}: {FILLING}",
    }


def pages(records: int, per_page: int) -> list[bytes]:
    answers = []
    last = -(-records // per_page)
    for page in range(last):
        found = [record(number) for number in range(page * per_page, min((page + 1) * per_page, records))]
        body = json.dumps({"items": found, "next": page + 1 if page + 1 < last else None, "total": records}).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        answers.append(head.encode() + body)
    return answers


class Server(asyncio.Protocol):
    def __init__(self, answers: list[bytes]) -> None:
        self.answers = answers
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while b"\r\n\r\n" in self.buffer:
            head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
            asked = re.search(rb"[?&]page=(\d+)", head)
            self.transport.write(self.answers[int(asked[1]) if asked else 0])  # type: ignore[attr-defined]


async def main() -> None:
    answers = pages(int(sys.argv[1]), int(sys.argv[2]))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Server(answers), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
