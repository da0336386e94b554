"""A host and a sandbox platform, wired over real HTTP on 127.0.0.1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from support.served import Serve, Served, serving
from support.world import AT_ONCE, OpenWorld, World, open_world

from soulwatch.host.clock import Clock
from soulwatch.host.timing import RefreshPolicy

__all__ = ["open_world"]


@pytest.fixture
async def world(open_world: OpenWorld) -> AsyncIterator[World]:
    """A world with the sandbox's usual habits."""
    async with open_world() as made:
        yield made


@pytest.fixture
def serve(world: World) -> Serve:
    """Serves a host of this world over real HTTP, under the settings a test asks for."""

    def serve_(
        *, clock: Clock | None = None, policy: RefreshPolicy = AT_ONCE, **overrides: Any
    ) -> AbstractAsyncContextManager[Served]:
        return serving(world.sandbox, lambda port: world.settings(**{"port": port, **overrides}), policy, clock)

    return serve_


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    """A host of this world under its usual settings, served over real HTTP."""
    async with serve() as made:
        yield made
