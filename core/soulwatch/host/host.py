"""The composition root: every part built once, each given only what it needs."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
from sqlalchemy import Row

from soulwatch.errors import NeedsReauth, SoulwatchError
from soulwatch.host.access import Access
from soulwatch.host.accounts import Accounts
from soulwatch.host.admission import Admission
from soulwatch.host.agreed import AgreedClock, agreed_time
from soulwatch.host.breaker import Breakers
from soulwatch.host.broadcaster import Broadcaster
from soulwatch.host.budget import Budget
from soulwatch.host.claims import Claims
from soulwatch.host.clock import Clock, SystemClock
from soulwatch.host.clock_watch import ClockWatch
from soulwatch.host.connecting import Connecting
from soulwatch.host.forecast import Forecast
from soulwatch.host.keyring_check import open_ring, remember
from soulwatch.host.news import RESERVED, SOCKETS_OWN
from soulwatch.host.overview import Overview
from soulwatch.host.plan import Plan
from soulwatch.host.platforms import Platforms
from soulwatch.host.plugins import Plugins
from soulwatch.host.poller import Outcome, Poller
from soulwatch.host.processes import name_of_this
from soulwatch.host.refresher import Refresher
from soulwatch.host.safe import TokenSafe
from soulwatch.host.second_look import SecondLook
from soulwatch.host.settings import Settings
from soulwatch.host.store import attempts, events, items
from soulwatch.host.store.database import Database
from soulwatch.host.store.migrate import migrate
from soulwatch.host.sweeper import Sweeper
from soulwatch.host.ticker import Ticker
from soulwatch.host.timing import RefreshPolicy
from soulwatch.host.tokens import Tokens
from soulwatch.host.trouble import Trouble
from soulwatch.host.vault import KeyRing, Vault
from soulwatch.host.worker import Worker
from soulwatch.values import Event, Token

logger = logging.getLogger("soulwatch.host")

OWN = "soulwatch"
"""The distribution that the host's own plugins are listed under."""
MOST_POLLS = 50
"""Polls of one process under way at once, over all platforms."""
"""Some platforms take a used refresh token again for ten seconds: after a crash that is how long there is."""
LOOK_AROUND_EVERY_S = 2
BEAT_EVERY_S = 10
LOOK_AT_DATABASE_EVERY_S = 5
PRUNE_EVERY_S = 60
LOOK_AHEAD_EVERY_S = 3600
EVENTS_ARE_KEPT = timedelta(days=7)
ATTEMPTS_ARE_KEPT = timedelta(days=30)


class Host:
    """All parts of one running process, and what an application asks of them."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        ring: KeyRing,
        plugins: Plugins,
        clock: Clock,
        policy: RefreshPolicy,
    ) -> None:
        owner = name_of_this(clock.token_bytes(4).hex())
        self.settings = settings
        self.database = database
        self.plugins = plugins
        self.clock = clock
        self.vault = vault = Vault(ring, monotonic=clock.monotonic)
        safe = TokenSafe(vault)
        self.platforms = Platforms(plugins, settings, clock=clock)
        self.broadcaster = Broadcaster(database)
        plugins.register(self.broadcaster, "soulwatch:broadcaster", OWN, is_first=True)
        self.plan = Plan(self.platforms, clock, settings.zone)
        budget = Budget(clock, settings.concurrency)
        self.breakers = Breakers(database, clock)
        admission = Admission(self.platforms, self.breakers)
        claims = Claims(database, safe, clock, policy, owner)
        refresher = Refresher(database, safe, self.platforms, clock, policy, self.announce, self.breakers, claims)
        second_look = SecondLook(database, self.platforms, clock, policy)
        self.tokens = Tokens(database, safe, admission, claims, refresher, clock, policy, self.announce, second_look)
        self.trouble = Trouble(database, clock)
        self.sweeper = Sweeper(database, self.tokens, admission, clock, self.trouble)
        self.poller = Poller(
            database, self.tokens, self.platforms, self.plan, budget, clock, self.announce, owner, settings.lease
        )
        self.accounts = Accounts(database, safe, self.platforms, self.plan, clock, policy, self.announce)
        self.connecting = Connecting(database, vault, self.platforms, self.accounts, clock, settings.base_url)
        self.forecast = Forecast(database, self.platforms, clock, self.announce)
        self.clock_watch = ClockWatch(database, clock, max(settings.lease, policy.lease))
        self.access = Access(database, clock)
        self.overview = Overview(self.platforms, self.plan, self.connecting.redirect_uri)
        ticker = Ticker(clock, tz=settings.zone, is_told=self.trouble.met)
        self.worker = Worker(
            self.sweeper,
            self.poller,
            ticker,
            clock,
            self.trouble,
            most_polls=MOST_POLLS,
            grace=settings.shutdown_grace,
        )
        self._tick(ticker)

    @classmethod
    async def open(
        cls,
        settings: Settings,
        *,
        clock: Clock | None = None,
        policy: RefreshPolicy | None = None,
        plugins: Plugins | None = None,
    ) -> Host:
        """Open the database and everything over it. Raises SettingsError, and nothing was changed then."""
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = Database(settings.database_url)
        clock = clock or (SystemClock() if database.is_sqlite else AgreedClock())
        database.make_private()
        try:
            await database.check()
            ring = await open_ring(settings, database)
            await migrate(database)
            async with database.reading() as transaction:
                await agreed_time(clock, transaction)
            await remember(ring, database, clock, settings)
        except BaseException:
            await database.close()
            raise
        if plugins is None:
            plugins = Plugins()
            plugins.discover(allow=settings.plugins.allow, deny=settings.plugins.deny)
        for problem in plugins.problems:
            logger.warning("the plugin %s is not in use: %s", problem.plugin, problem.why)
        policy = policy or RefreshPolicy.under(settings.refresh_margin, settings.lease)
        return cls(settings, database, ring, plugins, clock, policy)

    async def close(self) -> None:
        """Close connections to platforms and to the database."""
        await self.tokens.close()
        await self.platforms.close()
        await self.database.close()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """The background work goes on inside this block and ends, in order, with it."""
        await self.accounts.arrange()
        async with anyio.create_task_group() as group:
            group.start_soon(self.worker.run)
            try:
                yield
            finally:
                self.worker.stop()
                # Begun polls finish or are handed back; a second signal does not cut that short.
                with anyio.CancelScope(shield=True):
                    await self.worker.stopped()

    async def announce(self, told: Sequence[Event]) -> None:
        """Tell plugins and sockets what has been stored."""
        for event in told:
            await self.plugins.announce(event)
            if event.type == "connection_status":
                self.worker.wake()

    def _tick(self, ticker: Ticker) -> None:
        ticker.every(self.settings.sweep_interval.total_seconds(), self._sweep, "token refresh")
        ticker.every(BEAT_EVERY_S, self.worker.beat, "heartbeat", at_once=True)
        ticker.every(BEAT_EVERY_S, self.clock_watch.look, "clock", at_once=True)
        ticker.every(LOOK_AROUND_EVERY_S, self.broadcaster.look_around, "events of other processes")
        ticker.every(LOOK_AT_DATABASE_EVERY_S, self.trouble.look, "database")
        ticker.every(PRUNE_EVERY_S, self._prune, "pruning")
        ticker.every(LOOK_AHEAD_EVERY_S, self._look_ahead, "forecast", at_once=True)

    async def _sweep(self) -> None:
        looked_at = await self.sweeper.sweep()
        logger.info("swept: %d tokens were due", looked_at)

    async def _look_ahead(self) -> None:
        await self.forecast.look_ahead()

    async def _prune(self) -> None:
        for prune in (self.access.prune, self.connecting.prune, self.breakers.prune, self._prune_history):
            try:
                await prune()
            except Exception:
                logger.exception("something could not be pruned; the rest is")

    async def _prune_history(self) -> None:
        now = self.clock.now()
        async with self.database.writing() as transaction:
            await events.prune(transaction, now - EVENTS_ARE_KEPT)
            await attempts.prune(transaction, now - ATTEMPTS_ARE_KEPT)

    async def jobs(self) -> list[tuple[str, str]]:
        """Each background job with its schedule, for people to read."""
        return await self.overview.jobs(self.settings.sweep_interval)

    async def ensure_fresh_token(self, user: str, platform: str) -> Token:
        """A token fit for use now, refreshed first where it is due.

        Raises NotFound where the user has not connected the platform, NeedsReauth where only they can help, or an
        error that says when to ask again.
        """
        row = await self.accounts.of(user, platform)
        return await self.tokens.fresh(row.id)

    async def refresh_connection(self, connection_id: str) -> tuple[Token, bool]:
        """A new token for a connection now, due or not, and whether it is new.

        It is not where a refresh ended only moments ago: a platform is not asked twice in half a minute. Raises like
        `ensure_fresh_token`.
        """
        before = (await self.accounts.row(connection_id)).generation
        token = await self.tokens.fresh(connection_id, is_asked_for=True)
        return token, (await self.accounts.row(connection_id)).generation != before

    async def poll_connection(self, connection_id: str, data_type: str | None = None) -> list[Outcome]:
        """Poll a connection now, whatever its schedule."""
        row = await self.accounts.row(connection_id)
        if row.status != "connected":
            raise NeedsReauth(row.error_message or "This account is disconnected; its user can connect it again.")
        return await self.poller.poll_all(connection_id, data_type)

    async def poll_all_platforms_for_user(self, user: str) -> list[Outcome]:
        """Poll every connected account of a user now; what fails is among the outcomes and stops nothing else."""
        rows = [row for row in await self.accounts.rows(user=user) if row.status == "connected"]
        outcomes: list[Outcome] = []

        async def one(row: Row[Any]) -> None:
            try:
                outcomes.extend(await self.poller.poll_all(row.id))
            except SoulwatchError as broken:
                outcomes.append(Outcome(row.id, row.platform, "", problem=str(broken)))

        async with anyio.create_task_group() as group:
            for row in rows:
                group.start_soon(one, row)
        return sorted(outcomes, key=lambda outcome: (outcome.platform, outcome.data_type))

    async def send_to_user(self, user: str, message: Mapping[str, Any]) -> Event:
        """Tell a user's open sockets something of the application's own. Raises ValueError for a reserved type."""
        kind, taken = message.get("type"), (*RESERVED, *SOCKETS_OWN)
        if not isinstance(kind, str) or not kind or kind in taken:
            raise ValueError(f'A message needs a "type" of its own, not {kind!r}; {", ".join(taken)} are the host\'s.')
        data = {name: value for name, value in message.items() if name != "type"}
        async with self.database.writing() as transaction:
            told = await events.append(transaction, [Event(kind, user, data=data)], self.clock.now())
        await self.announce(told)
        return told[0]

    async def data(self, **wanted: Any) -> Sequence[Row[Any]]:
        """Stored items as they are now, newest first: see `items.current` for what can be wanted."""
        async with self.database.reading() as transaction:
            found: Sequence[Row[Any]] = (await transaction.execute(items.current(**wanted))).all()
            return found

    async def events(self, user: str, after: int = 0, limit: int = 500) -> list[Event]:
        """A user's events after a number, oldest first."""
        async with self.database.reading() as transaction:
            return await events.after(transaction, user, after, limit)
