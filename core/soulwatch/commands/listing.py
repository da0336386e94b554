"""`soulwatch connections` and `soulwatch data`: what is connected, and what came of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import click

from soulwatch.commands.given import Given, which_installation, with_host
from soulwatch.commands.telling import as_json, columns, note
from soulwatch.errors import NotFound

if TYPE_CHECKING:
    from sqlalchemy import Row

    from soulwatch.host.host import Host

ITEMS_A_QUERY = 500
LONGEST_CELL = 100


@click.command(
    epilog="""\b
Examples:
  soulwatch connections
  soulwatch connections --user ada --platform spotify
  soulwatch connections --json | jq 'select(.status == "needs_reauth") | .user'"""
)
@click.option("--user", metavar="USER", help="Only this user's.")
@click.option("--platform", metavar="PLATFORM", help="Only this platform's.")
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object a line.")
@which_installation
def connections(given: Given, *, user: str | None, platform: str | None, wants_json: bool) -> None:
    """List connected accounts and how they are.

    A status other than "connected" comes with its reason; "needs_reauth" means that only its user can help.
    """

    async def work(host: Host) -> None:
        rows = await host.accounts.rows(user=user, platform=platform)
        if not rows and (user or platform):
            raise NotFound(_nobody(user, platform))
        if wants_json:
            await _print_connections(host, rows)
        elif rows:
            heads = ("id", "user", "platform", "account", "status", "reason", "last sync", "token until", "message")
            columns(heads, [_connection(row) for row in rows])
        else:
            note(f"Nothing is connected yet. Connect an account on the page: {host.settings.base_url}/")

    with_host(given, work)


def _connection(row: Row[Any]) -> tuple[Any, ...]:
    said = (row.account_name, row.status, row.reason, row.last_sync, row.token_expires_at, row.error_message)
    return (row.id, row.user_id, row.platform, *said)


async def _print_connections(host: Host, rows: Any) -> None:
    from soulwatch.host.store import polls  # noqa: PLC0415
    from soulwatch.host.web.shapes import connection_shape  # noqa: PLC0415

    async with host.database.reading() as transaction:
        of = await polls.by_connection(transaction, [row.id for row in rows])
    for row in rows:
        as_json(connection_shape(host.platforms, row, of[row.id]))


def _nobody(user: str | None, platform: str | None) -> str:
    who = f"{user!r} has connected" if user else "Nobody has connected"
    what = platform or "nothing"
    return f"{who} {'no ' if user and platform else ''}{what}; `soulwatch connections` lists what is connected."


@click.command(
    epilog="""\b
Examples:
  soulwatch data --user ada --platform spotify
  soulwatch data --data-type recently_played --limit 5
  soulwatch data --user ada --limit 1000000 --json > ada.ndjson"""
)
@click.option("--user", metavar="USER", help="Only this user's.")
@click.option("--platform", metavar="PLATFORM", help="Only this platform's.")
@click.option("--data-type", metavar="TYPE", help="Only of this endpoint, such as recently_played.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)
@click.option("--json", "wants_json", is_flag=True, help="Print one JSON object a line, with the whole raw data.")
@which_installation
def data(given: Given, *, limit: int, wants_json: bool, **wanted: str | None) -> None:
    """Show stored items, newest first.

    The raw data is the platform's own JSON. Without --json only its beginning is shown.
    """

    async def work(host: Host) -> None:
        if wanted["user"] and not await host.data(user=wanted["user"], limit=1):
            await _known_user(host, wanted["user"])
        found = 0
        rows: list[Row[Any]] = []
        async for row in _items(host, limit, wanted):
            found += 1
            _print_item(row) if wants_json else rows.append(row)
        if rows:
            heads = ("id", "user", "platform", "type", "when", "key", "raw data")
            columns(heads, [_item(row) for row in rows])
        elif not found:
            note("Nothing is stored yet that fits. `soulwatch poll` polls now.")

    with_host(given, work)


async def _known_user(host: Host, user: str) -> None:
    if not await host.accounts.rows(user=user):
        raise NotFound(_nobody(user, None))


async def _items(host: Host, limit: int, wanted: dict[str, str | None]) -> AsyncIterator[Row[Any]]:
    before: int | None = None
    while limit > 0:
        rows = await host.data(**wanted, before=before, limit=min(limit, ITEMS_A_QUERY))
        for row in rows:
            yield row
        if len(rows) < min(limit, ITEMS_A_QUERY):
            return
        before, limit = rows[-1].id, limit - len(rows)


def _print_item(row: Row[Any]) -> None:
    from soulwatch.host.web.shapes import item_shape  # noqa: PLC0415

    as_json(item_shape(row))


def _item(row: Row[Any]) -> tuple[Any, ...]:
    raw = " ".join(str(row.raw_data).split())
    raw = raw if len(raw) <= LONGEST_CELL else raw[: LONGEST_CELL - 1] + "…"
    return (row.id, row.user_id, row.platform, row.data_type, row.extracted_at, row.item_key, raw)
