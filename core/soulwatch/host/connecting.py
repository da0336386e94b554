"""Connecting an account: out to the platform with state and PKCE, back once, who is this, and stored.

A flow is bound to the browser that started it. One started by an application's link stays pending until that
application redeems its return, so that nobody's consent ends up under somebody else's name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from sqlalchemy import Row

from soulwatch.api import cause
from soulwatch.errors import Misconfigured, NotFound, Unavailable
from soulwatch.host.accounts import Accounts, FlowRefused
from soulwatch.host.clock import Clock
from soulwatch.host.owner import owner_of
from soulwatch.host.platforms import Platforms
from soulwatch.host.store import flows
from soulwatch.host.store.database import Database
from soulwatch.host.vault import KeyUnavailable, Place, SealBroken, Vault
from soulwatch.platform import Platform
from soulwatch.values import Account, Client, Connection, Token

logger = logging.getLogger("soulwatch.connect")

FLOW_LASTS = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Callback:
    """What a platform sent the browser back with."""

    platform: str
    state: str
    code: str | None
    error: str | None
    issuer: str | None
    browser: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a flow: a connection, or for an application's link the code its return is redeemed with."""

    connection: Connection | None
    flow_id: str
    return_to: str | None
    redeem_code: str | None = None
    problem: str | None = None
    """Why there is none, for the application that made the link."""


class Connecting:
    """Starts, finishes and redeems flows."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        platforms: Platforms,
        accounts: Accounts,
        clock: Clock,
        base_url: str,
    ) -> None:
        self._database = database
        self._vault = vault
        self._platforms = platforms
        self._accounts = accounts
        self._clock = clock
        self._base_url = base_url

    def redirect_uri(self, platform: str) -> str:
        """Where a platform sends people back; one address each, so that answers cannot be mixed up."""
        return f"{self._base_url}/connect/{platform}/callback"

    async def start(self, user: str, platform: str, browser: str) -> str:
        """Begin a flow on the host's own page; the platform's address to send the browser to."""
        return await self._depart(self.secret(), user, platform, browser, started_by="page", is_new=True)

    async def link(self, user: str, platform: str, return_to: str | None, started_by: str) -> tuple[str, str]:
        """Begin a flow for an application: its id, and the secret of a link that works once."""
        self._wanted(platform)
        flow_id, secret = self.secret(), self.secret()
        async with self._database.writing() as transaction:
            await flows.add(
                transaction,
                {
                    "id": flow_id,
                    "user_id": user,
                    "platform": platform,
                    "link_hash": hashed(secret),
                    "return_to": return_to,
                    "started_by": started_by,
                    "expires_at": self._clock.now() + FLOW_LASTS,
                },
            )
        return flow_id, secret

    async def follow(self, secret: str, browser: str) -> str:
        """An application's link was opened: the platform's address to send this browser to."""
        async with self._database.writing() as transaction:
            flow = await flows.take_by_link(transaction, hashed(secret), self._clock.now())
        if flow is None:
            raise FlowRefused("This link was used already or is too old: ask the application for a new one.")
        return await self._depart(flow.id, flow.user_id, flow.platform, browser, started_by=flow.started_by)

    async def _depart(
        self, flow_id: str, user: str, platform: str, browser: str, *, started_by: str, is_new: bool = False
    ) -> str:
        facts, client = self._wanted(platform)
        state, verifier = self.secret(), self.secret()
        place = _place(flow_id, user, platform, "verifier")
        key = self._vault.new_data_key(place)
        values = {
            "platform": platform,
            "state_hash": hashed(state),
            "browser_hash": hashed(browser),
            "verifier": self._vault.seal(key, verifier, place),
            "sealed_key": key,
            "expires_at": self._clock.now() + FLOW_LASTS,
        }
        async with self._database.writing() as transaction:
            if is_new:
                await flows.add(transaction, {"id": flow_id, "user_id": user, "started_by": started_by, **values})
            else:
                await flows.change(transaction, flow_id, **values)
        url = facts.oauth.authorization_url(client, self.redirect_uri(platform), state, verifier)
        return self._platforms.addresses(platform).locate(url)

    def _wanted(self, platform: str) -> tuple[Platform, Client]:
        facts = self._platforms.facts(platform)
        if not self._platforms.is_enabled(platform):
            raise Misconfigured(f"{facts.title} is switched off here (setting platforms.{platform}.enabled).")
        return facts, self._platforms.client(facts)

    async def finish(self, callback: Callback) -> Finished:
        """Take a flow to its end. Raises FlowRefused or PlatformError; no request leaves before all is checked."""
        async with self._database.writing() as transaction:
            flow = await flows.take_by_state(transaction, hashed(callback.state), self._clock.now())
        facts = self._check(flow, callback)
        assert flow is not None  # noqa: S101  - _check raises otherwise
        if not callback.code or callback.error is not None:
            await self._forget(flow)
            if flow.return_to is None:
                raise _not_given(facts, callback)
            problem = "access_denied" if callback.error == "access_denied" else "not_connected"
            return Finished(None, flow.id, flow.return_to, problem=problem)
        token, account = await self._exchange(flow, facts, callback.code or "")
        if flow.started_by == "page":
            connection = await self._accounts.store(flow.user_id, facts, account, token, flow_id=flow.id)
            return Finished(connection, flow.id, flow.return_to)
        return await self._hold(flow, token, account)

    def _check(self, flow: Row[Any] | None, callback: Callback) -> Platform:
        if flow is None:
            raise FlowRefused("This connection attempt is unknown, was finished already or is too old: start it again.")
        if flow.platform != callback.platform:
            raise FlowRefused("The answer came to another platform's address: nothing was connected. Start it again.")
        if callback.browser is None or not hmac.compare_digest(hashed(callback.browser), flow.browser_hash):
            raise FlowRefused("This was started in another browser: start and finish it in the same one.")
        facts = self._platforms.facts(flow.platform)
        issuer = facts.oauth.issuer
        if issuer is not None and callback.issuer != self._platforms.addresses(facts.name).named(issuer):
            raise FlowRefused("The answer comes from another authorization server: nothing was connected.")
        return facts

    async def _exchange(self, flow: Row[Any], facts: Platform, code: str) -> tuple[Token, Account]:
        place = _place(flow.id, flow.user_id, flow.platform, "verifier")
        verifier = self._vault.open(flow.sealed_key, flow.verifier, place)
        http = self._platforms.http(facts.name)
        redirect_uri = self.redirect_uri(facts.name)
        try:
            token = await facts.oauth.exchange(self._platforms.client(facts), code, redirect_uri, verifier, http)
        except httpx.HTTPError as broken:
            raise Unavailable(f"{facts.title} could not be reached: {cause(broken)}. Try again.") from broken
        return token, await owner_of(self._platforms, facts.name, token.access, self._clock)

    async def _hold(self, flow: Row[Any], token: Token, account: Account) -> Finished:
        """Keep what was found, sealed, until the application redeems it."""
        code = self.secret()
        place = _place(flow.id, flow.user_id, flow.platform, "found")
        found = self._vault.seal(flow.sealed_key, _as_text(token, account), place)
        async with self._database.writing() as transaction:
            await flows.change(
                transaction,
                flow.id,
                found=found,
                verifier=None,
                redeem_hash=hashed(code),
                expires_at=self._clock.now() + FLOW_LASTS,
            )
        return Finished(None, flow.id, flow.return_to, code)

    async def redeem(self, flow_id: str, code: str, started_by: str) -> Connection:
        """The application's signed-in user came back with `code`: the connection becomes real."""
        async with self._database.writing() as transaction:
            flow = await flows.get(transaction, flow_id)
            if flow is None or flow.started_by != started_by:
                raise NotFound("There is no such connect session.")
            taken = await flows.take_by_code(transaction, flow_id, hashed(code), self._clock.now())
        if taken is None or taken.found is None:
            raise FlowRefused("This code is wrong, was redeemed already or is too old.")
        token, account = self._found(taken)
        facts = self._platforms.facts(taken.platform)
        return await self._accounts.store(taken.user_id, facts, account, token, flow_id=taken.id)

    async def prune(self) -> int:
        """Forget flows that nobody finished, and revoke what they had found; how many."""
        async with self._database.reading() as transaction:
            over = await flows.expired(transaction, self._clock.now())
        for flow in over:
            try:
                if flow.found is not None:
                    await self._revoke(flow)
            except KeyUnavailable as missing:
                logger.warning("a flow that nobody finished is kept until it can be revoked: %s", missing)
                continue
            await self._forget(flow)
        return len(over)

    async def _revoke(self, flow: Row[Any]) -> None:
        try:
            token, account = self._found(flow)
        except SealBroken:
            logger.exception("what an unfinished flow had found cannot be opened, nor revoked", extra={"flow": flow.id})
            return
        # At some platforms one token's end is that of the whole grant, and of whoever lives on it.
        if not await self._accounts.is_connected(flow.platform, account):
            await self._platforms.revoke(flow.platform, token)

    def _found(self, flow: Row[Any]) -> tuple[Token, Account]:
        place = _place(flow.id, flow.user_id, flow.platform, "found")
        return _from_text(self._vault.open(flow.sealed_key, flow.found, place))

    async def _forget(self, flow: Row[Any]) -> None:
        async with self._database.writing() as transaction:
            await flows.forget(transaction, flow.id)

    def secret(self) -> str:
        """256 random bits as text."""
        return base64.urlsafe_b64encode(self._clock.token_bytes(32)).rstrip(b"=").decode()


def _not_given(facts: Platform, callback: Callback) -> FlowRefused:
    if callback.error is None:
        return FlowRefused(f"{facts.title} sent no code: start it again.")
    denied = callback.error == "access_denied"
    why = "consent was not given" if denied else f"the platform said {callback.error[:60]!r}"
    return FlowRefused(f"{facts.title} was not connected: {why}. You can try again at any time.")


def hashed(secret: str) -> bytes:
    """What is kept of a secret that is only ever compared."""
    return hashlib.sha256(secret.encode()).digest()


def _place(flow_id: str, user: str, platform: str, column: str) -> Place:
    return Place("connect_flows", column, flow_id, user, platform, 0)


def _as_text(token: Token, account: Account) -> str:
    times = [at.isoformat() if at else None for at in (token.expires_at, token.grant_expires_at)]
    return json.dumps([token.access, token.refresh, *times, token.scopes, account.id, account.name])


def _from_text(text: str) -> tuple[Token, Account]:
    access, refresh, expires_at, ends_at, scopes, account_id, name = json.loads(text)
    times = [datetime.fromisoformat(at) if at else None for at in (expires_at, ends_at)]
    return Token(access, refresh, times[0], tuple(scopes), times[1]), Account(account_id, name)
