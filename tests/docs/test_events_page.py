from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from soulwatch import Account, Connection, Token
from soulwatch.host import news
from soulwatch.host.broadcaster import QUEUE_LENGTH
from soulwatch.host.web import live
from soulwatch.host.web.shapes import event_shape

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "events.md").read_text("utf-8")
TYPES, SOCKET = PAGE.split("## The WebSocket")
SECTIONS = dict(re.findall(r"(?ms)^## `(\w+)`\n(.*?)(?=^## |\Z)", TYPES))
EXAMPLES = [json.loads(text) for text in re.findall(r"(?s)```json\n(.*?)```", TYPES)]
COMMON = {"type", "user", "platform", "connection", "seq", "at"}


def told(example):
    """What the host makes of the facts in an example."""
    whose = Connection(example["connection"], example["user"], example["platform"], Account("", ""), (), "connected")
    row = SimpleNamespace(id=whose.id, user_id=whose.user, platform=whose.platform, status="connected")
    match example:
        case {"type": "platform_sync", "dataType": kind, "count": count, "message": message}:
            return news.platform_sync(whose, kind, count, message)
        case {"type": "token_refresh", "expiresAt": end}:
            return news.token_refresh(row, "Spotify", Token("made up", expires_at=datetime.fromisoformat(end)))
        case {"type": "new_data", "dataType": kind, "count": count}:
            return news.new_data(whose, kind, count)
        case {"type": "extraction_progress", "dataType": kind, "done": done, "total": total}:
            return news.progress(whose, kind, done, total)
        case {"type": "connection_status", "dataType": kind, "reason": reason, "message": message}:
            return news.endpoint_status(whose, kind, reason, message)
        case {"type": "connection_status", "status": status, "reason": reason, "message": message}:
            return news.status(row, {"status": status, "reason": reason, "error_message": message})


def test_each_reserved_type_has_a_heading_and_nothing_else_has():
    assert sorted(SECTIONS) == sorted(news.RESERVED)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: f"{example['type']}-{example['seq']}")
def test_the_host_tells_what_the_example_says(example):
    event = told(example)
    shape = event_shape(event)
    assert {**shape, "seq": example["seq"], "at": example["at"]} == example


@pytest.mark.parametrize("name", SECTIONS)
def test_the_table_has_the_fields_of_the_examples(name):
    table = SECTIONS[name].partition("| `reason` | who can help |")[0]
    fields = set(re.findall(r"(?m)^\| `(\w+)` \|", table))
    assert fields == {field for example in EXAMPLES if example["type"] == name for field in example} - COMMON


def test_the_numbers_of_the_socket_are_those_of_the_code():
    closed = {int(code) for code in re.findall(r"(?m)^\| (\d{4}) \|", SOCKET)}
    assert closed == {live.NOT_PROVEN, live.TOO_SLOW, live.RESTARTING, live.TOO_MANY, live.TOO_LARGE}
    for said in (
        f"within {live.SAY_WHO_WITHIN_S:g} seconds",
        f"longer than {live.SEND_WITHIN_S:g} seconds",
        f"{live.LARGEST_MESSAGE // 1024} KiB",
        f"{live.MESSAGES_A_MINUTE} a minute",
        f"more than {QUEUE_LENGTH} waited",
        f"`{live.PROTOCOL}`",
        f"`{live.TICKET}<ticket>`",
    ):
        assert said in " ".join(SOCKET.split())


async def test_the_client_of_the_page_hears_what_it_missed_and_what_comes(served, tmp_path):
    (code,) = re.findall(r"(?s)```python\n(.*?)```", SOCKET)
    script = tmp_path / "listen.py"
    script.write_text(code)
    env = {"PATH": os.environ["PATH"], "SOULWATCH": served.url, "SOULWATCH_KEY": served.key}
    listening = await asyncio.create_subprocess_exec(
        sys.executable, "-u", str(script), stdout=asyncio.subprocess.PIPE, env=env
    )
    try:
        heard = [(await asyncio.wait_for(listening.stdout.readline(), 20)).decode().split(" ")[0].strip()]
        missed = await served.host.events("ada")
        await served.host.send_to_user("ada", {"type": "hello", "message": "from the application"})
        async with asyncio.timeout(20):
            heard += [
                (await listening.stdout.readline()).decode().split(" ")[0].strip() for _ in range(len(missed) + 1)
            ]
        assert heard == ["ready", *(event.type for event in missed), "hello"]
    finally:
        listening.kill()
        await listening.wait()
