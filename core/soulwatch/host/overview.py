"""What this host does, for people to read: its jobs, its plugins, what each polls and how often."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from soulwatch.errors import SoulwatchError
from soulwatch.host.cron import parse_schedule
from soulwatch.host.plan import Plan
from soulwatch.host.platforms import Platforms
from soulwatch.host.plugins import Plugin
from soulwatch.platform import Platform
from soulwatch.values import Account, Connection

NOBODY = Account("", "")
"""Stands for any account, where endpoints are listed before one is connected."""


class Overview:
    """Describes plugins and jobs."""

    def __init__(self, platforms: Platforms, plan: Plan, redirect_uri: Callable[[str], str]) -> None:
        self._platforms = platforms
        self._plan = plan
        self._redirect_uri = redirect_uri

    async def jobs(self, sweep_interval: timedelta) -> list[tuple[str, str]]:
        """Each background job with its schedule."""
        found = [("Token refresh", parse_schedule(sweep_interval).describe())]
        for facts in self._platforms.in_use():
            endpoints = await self._endpoints(facts)
            found.extend((f"{facts.title} polling ({one['name']})", one["schedule"]) for one in endpoints)
        return found

    async def plugin(self, plugin: Plugin) -> dict[str, Any]:
        """A plugin as the API and the command line show it."""
        facts = plugin.platform
        return {
            "name": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "hooks": plugin.hooks,
            "platform": self._platform(facts) if facts else None,
            "endpoints": await self._endpoints(facts) if facts else [],
        }

    def _platform(self, facts: Platform) -> dict[str, Any]:
        return {
            "name": facts.name,
            "title": facts.title,
            "client_name": facts.client_name,
            "client_set": self._platforms.has_client(facts),
            "enabled": self._platforms.is_enabled(facts.name),
            "scopes": self._platforms.facts(facts.name).oauth.scopes,
            "redirect_uri": self._redirect_uri(facts.name),
        }

    async def _endpoints(self, facts: Platform) -> list[dict[str, str]]:
        nobody = Connection("", "", facts.name, NOBODY)
        described = []
        try:
            for endpoint in (await self._plan.endpoints(nobody)).values():
                recurrence = await self._plan.recurrence(facts.name, endpoint)
                schedule = recurrence.describe() if recurrence else "when asked"
                described.append({"name": endpoint.name, "schedule": schedule})
        except SoulwatchError as broken:
            described.append({"name": "?", "schedule": str(broken)})
        return described
