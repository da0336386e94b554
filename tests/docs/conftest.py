"""A host for what the pages show: an application's key, and one account at the sandbox, connected and polled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from support.served import serving
from support.world import AT_ONCE, World

from soulwatch import Connection
from soulwatch.host.host import Host
from soulwatch_sandbox import Sandbox, running

FRONT_END = "https://app.example.com"


@dataclass
class Shown:
    """A host that can be reached, and what the examples need to know of it."""

    host: Host
    url: str
    key: str
    connection: Connection
    world: World

    async def connect(self, user: str, person: str) -> Connection:
        """Another account, through the platform's consent page."""
        return await self.world.connect(self.host, user=user, person=person)


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shown]:
    folder = tmp_path_factory.mktemp("served")
    with Sandbox(item_every=None) as sandbox:
        async with running(sandbox) as place:
            world = World(sandbox, place, folder, f"sqlite:///{folder}/soulwatch.db")
            lists = {"cors_origins": [FRONT_END], "return_to_origins": [FRONT_END]}
            async with serving(sandbox, lambda port: world.settings(port=port, **lists), AT_ONCE) as shown:
                connection = await world.connect(shown.host)
                await shown.host.poll_all_platforms_for_user("ada")
                _, key = await shown.host.access.new_key("the application")
                yield Shown(shown.host, shown.url, key, connection, world)
