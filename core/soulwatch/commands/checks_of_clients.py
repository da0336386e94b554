"""OAuth clients that a platform refuses: which they are, where that was said, and which settings to mend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from soulwatch.commands.findings import Finding, fail, warn
from soulwatch.host.breaker import DOWN
from soulwatch.host.store.tables import breakers

if TYPE_CHECKING:
    from soulwatch.host.platforms import Platforms
    from soulwatch.host.settings import Settings
    from soulwatch.host.store.database import Database


async def examine_clients(settings: Settings, database: Database, platforms: Platforms) -> list[Finding]:
    """A finding for each OAuth client that is refused."""
    async with database.reading() as transaction:
        query = select(breakers).where(breakers.c.client.not_like(f"{DOWN}%")).order_by(breakers.c.client)
        refused = (await transaction.execute(query)).all()
    found = []
    for row in refused:
        name = row.client.partition("#")[0]
        since = f"refused since {row.opened_at:%Y-%m-%d %H:%M} UTC"
        if asked := _asked_by(row.client, platforms):
            what = f"{since} at {', '.join(asked)}: {row.message}"
            found.append(fail(f"OAuth client {name}", what, f"{_to_mend(name, settings)}. No user has to do anything."))
        else:
            what = f"{since}, under another id or secret than these settings give it"
            remedy = "Restart every host that still has the old ones; it is forgotten a day after it was last tried."
            found.append(warn(f"OAuth client {name}", what, remedy))
    return found


def _asked_by(key: str, platforms: Platforms) -> list[str]:
    """The token endpoints that are asked as this client, where they really are."""
    found = [(name, platforms.known(name)) for name in platforms.of_clients({key})]
    return [platforms.addresses(name).named(facts.oauth.token_url) for name, facts in found if facts is not None]


def _to_mend(name: str, settings: Settings) -> str:
    spelled = name.upper().replace("-", "_")
    places = [
        f"{spelled}_CLIENT_{part.upper()} (it comes from {settings.sources[f'clients.{name}.{part}']})"
        for part in ("id", "secret")
        if f"clients.{name}.{part}" in settings.sources
    ]
    return f"Mend {' and '.join(places)} and restart the host"
