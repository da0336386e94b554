"""The demonstration: an invented platform on a port of this machine, its own data, and settings that show much soon."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from soulwatch.errors import SoulwatchError

if TYPE_CHECKING:
    from soulwatch.host.settings import Settings

FOLDER = "demo"
LOOPBACK = "127.0.0.1"
TOKEN_LIFE_S = 60
ITEM_EVERY_S = 5
POSED_TOKEN_LIFE_S = 120
SCHEDULES = {
    "spotify": {"recently_played": "20s", "currently_playing": "20s"},
    "github": {"events": "60s", "repos": "60s"},
}
"""Platforms that the sandbox poses as, polled often enough to watch."""
NOT_INSTALLED = """The demonstration needs the sandbox, a distribution of its own: pip install soulwatch-sandbox
(in a checkout: pip install ./contrib/sandbox)"""


def demo_dir(settings: Settings) -> Path:
    """Where the demonstration keeps its data: apart, so that they never mix with real ones."""
    return settings.data_dir / FOLDER


def known_port(settings: Settings) -> int:
    """The sandbox's port of last time, 0 if there was none. Connections made then point there."""
    try:
        port = json.loads(_port_file(settings).read_text())["port"]
        return port if isinstance(port, int) and 0 < port < 1 << 16 else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def demo_overrides(settings: Settings, port: int) -> dict[str, Any]:
    """What the demonstration decides otherwise than `settings`."""
    folder, sandbox = demo_dir(settings), f"http://{LOOPBACK}:{port}"
    said: dict[str, Any] = {
        "data_dir": str(folder),
        "database_url": f"sqlite:///{folder}/soulwatch.db",
        "environment": "demonstration",
        **_posed("sandbox", sandbox),
    }
    if settings.plugins.allow is not None:
        said["plugins.allow"] = [*settings.plugins.allow, "sandbox"]
    for name in _poses(settings):
        said |= _posed(name, f"{sandbox}/{name}")
        for endpoint, schedule in SCHEDULES[name].items():
            said[f"platforms.{name}.schedules.{endpoint}"] = schedule
    return said


@asynccontextmanager
async def running_sandbox(settings: Settings) -> AsyncIterator[int]:
    """The sandbox's server while the block lasts, remembering all it gave out; gives its port."""
    if find_spec("soulwatch_sandbox") is None:
        raise SoulwatchError(NOT_INSTALLED)
    from soulwatch_sandbox import Sandbox, running  # noqa: PLC0415
    from soulwatch_sandbox.rules import GITHUB, SPOTIFY  # noqa: PLC0415

    port = _free_port(known_port(settings))
    _port_file(settings).write_text(json.dumps({"port": port}))
    with Sandbox(
        demo_dir(settings) / "sandbox.db",
        token_life=TOKEN_LIFE_S,
        item_every=ITEM_EVERY_S,
        rules={
            "spotify": replace(SPOTIFY, life=POSED_TOKEN_LIFE_S),
            "github": replace(GITHUB, life=POSED_TOKEN_LIFE_S),
        },
    ) as sandbox:
        _make_clients_known(sandbox, settings)
        async with running(sandbox, port, LOOPBACK):
            yield port


def _make_clients_known(sandbox: Any, settings: Settings) -> None:
    # Behind a public URL people come back elsewhere than to the loopback addresses that it knows by itself.
    for name in ("sandbox", *_poses(settings)):
        client = _client(name)
        hosts = (settings.base_url, f"http://{LOOPBACK}:{settings.port}", f"http://localhost:{settings.port}")
        places = [f"{host}/connect/{name}/callback" for host in dict.fromkeys(hosts)]
        sandbox.register(name, client["id"], client["secret"], places)


def _poses(settings: Settings) -> list[str]:
    """The platforms that the sandbox stands in for: installed, and without a client of their own."""
    installed = {entry.name for entry in entry_points(group="soulwatch")}
    return [name for name in SCHEDULES if name in installed and settings.client(name) is None]


def _posed(name: str, url: str) -> dict[str, Any]:
    given: Mapping[str, Any] = {f"clients.{name}.{key}": value for key, value in _client(name).items()}
    return {**given, f"platforms.{name}.api_url": url, f"platforms.{name}.oauth_url": url}


def _client(name: str) -> dict[str, str]:
    return {"id": f"{name}-demo", "secret": f"{name}-demo-secret-invented"}


def _port_file(settings: Settings) -> Path:
    return demo_dir(settings) / "sandbox.json"


def _free_port(wanted: int) -> int:
    """The wanted port if nobody has it, else one that nobody has."""
    for port in (wanted, 0):
        try:
            with socket.create_server((LOOPBACK, port)) as found:
                free: int = found.getsockname()[1]
                return free
        except OSError:
            continue
    raise SoulwatchError("There is no free port on 127.0.0.1 for the sandbox.")
