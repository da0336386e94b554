"""Where the host listens and where people find it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from soulwatch.commands.findings import Finding, fail, ok, warn
from soulwatch.commands.listening import listen
from soulwatch.errors import SoulwatchError
from soulwatch.host.settings_addresses import LOOPBACK, bracketed

if TYPE_CHECKING:
    from soulwatch.host.settings import Settings

PATIENCE_S = 5.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  - compared with, never bound to


async def examine_addresses(settings: Settings) -> list[Finding]:
    """The address to listen on, and the public one."""
    local = f"http://{bracketed(EVERYWHERE.get(settings.host, settings.host))}:{settings.port}"
    is_running = settings.port != 0 and await answers(f"{local}/healthz")
    return [_own(settings, local, is_running=is_running), await _public(settings, is_running=is_running)]


def _own(settings: Settings, local: str, *, is_running: bool) -> Finding:
    if is_running:
        return ok("Address", f"{local}, where soulwatch is running")
    try:
        with listen(settings.host, settings.port):
            return ok("Address", f"{local} is free")
    except SoulwatchError as refused:
        return fail("Address", f"{local} cannot be had", str(refused))


async def _public(settings: Settings, *, is_running: bool) -> Finding:
    url = settings.base_url
    if settings.public_url is None:
        if settings.host in LOOPBACK:
            return ok("Public URL", f"not set; browsers of this machine use {url}")
        return warn(
            "Public URL",
            f"not set, but others than this machine can reach {settings.host}",
            "Set SOULWATCH_PUBLIC_URL to the https address people use; platforms send them back there.",
        )
    if is_running and not await answers(f"{url}/healthz"):
        return warn(
            "Public URL",
            f"{url} does not answer, though soulwatch is running",
            f"Check that {urlsplit(url).hostname} leads here, and that the proxy passes the path on.",
        )
    return ok("Public URL", url if is_running else f"{url} (not tried: soulwatch is not running)")


async def answers(url: str) -> bool:
    """Whether a soulwatch is there: something that answers as its health page does."""
    try:
        async with httpx.AsyncClient(timeout=PATIENCE_S, trust_env=False) as client:
            response = await client.get(url)
            return response.is_success and response.json() == {"status": "ok"}
    except (httpx.HTTPError, ValueError):
        return False
