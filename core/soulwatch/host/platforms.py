"""Each platform as this host uses it: the plugin's facts under the operator's settings, and the way to it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Collection
from dataclasses import replace
from hashlib import sha256

import httpx

from soulwatch.errors import Misconfigured, SoulwatchError, Unavailable
from soulwatch.host.clock import Clock, SystemClock
from soulwatch.host.outbound import LARGEST_TOKEN_ANSWER, Addresses, Outbound, client_over, open_way, trust
from soulwatch.host.plugins import Plugin, Plugins
from soulwatch.host.settings import PlatformSettings, Settings
from soulwatch.oauth import RECEIVED_AT
from soulwatch.platform import Platform
from soulwatch.values import Client, Token

logger = logging.getLogger("soulwatch.platforms")

REVOKE_AGAIN_AFTER_S = (1.0, 3.0)
"""A platform that cannot revoke a grant at once is asked as often again, unless it says when."""
REVOKE_WITHIN_S = 10.0
"""All of it together: somebody waits for the answer."""


class Platforms:
    """The platforms that are installed, as the operator set them up."""

    def __init__(
        self,
        plugins: Plugins,
        settings: Settings,
        context: Callable[[], ssl.SSLContext] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._plugins = plugins
        self._settings = settings
        self._clock = clock or SystemClock()
        self._context = context or (lambda: trust(settings.ca_file))
        self._trusted: ssl.SSLContext | None = None
        self._ways: dict[tuple[str, str], Outbound] = {}
        self._secret_in_use: dict[str, int] = {}
        self._clients: dict[str, httpx.AsyncClient] = {}

    def plugin(self, name: str) -> Plugin:
        """The plugin for a platform. Raises PluginError, with the reason why it is not there."""
        plugin = self._plugins[name]
        plugin.facts  # noqa: B018  - raises where the plugin is for no platform
        return plugin

    def at_once(self, name: str) -> int:
        """How many requests of one kind a platform may be asked together; one where its plugin is not in use."""
        facts = self.known(name)
        return facts.concurrency if facts else 1

    def known(self, name: str) -> Platform | None:
        """A platform's declared facts, or None where its plugin is not in use."""
        plugin = self._plugins.get(name)
        return plugin.platform if plugin else None

    def facts(self, name: str) -> Platform:
        """A platform's facts, the operator's scopes in place of the declared ones."""
        facts = self.plugin(name).facts
        scopes = self.settings(name).scopes
        return facts if scopes is None else replace(facts, oauth=replace(facts.oauth, scopes=scopes))

    def settings(self, name: str) -> PlatformSettings:
        """What the operator decided about a platform."""
        return self._settings.platforms.get(name) or PlatformSettings()

    def is_enabled(self, name: str) -> bool:
        """Whether the operator wants this platform."""
        return self.settings(name).enabled

    def switched_off(self) -> list[str]:
        """The platforms that the operator does not want."""
        return [name for name, mine in self._settings.platforms.items() if not mine.enabled]

    def in_use(self) -> list[Platform]:
        """The platforms that are wanted and have an OAuth client."""
        wanted = [plugin.facts for plugin in self._plugins.platforms if self.is_enabled(plugin.name)]
        return [facts for facts in wanted if self.has_client(facts)]

    def has_client(self, facts: Platform) -> bool:
        """Whether our OAuth client for it is set: without one it does nothing."""
        return self._settings.client(facts.client_name) is not None

    def client(self, facts: Platform) -> Client:
        """Our OAuth client. Raises Misconfigured, naming the variables to set."""
        found = self._settings.client(facts.client_name)
        if found is None:
            name = facts.client_name.upper().replace("-", "_")
            raise Misconfigured(
                f"{facts.title} has no OAuth client: set {name}_CLIENT_ID and {name}_CLIENT_SECRET "
                "(how to get them is in the plugin's README)."
            )
        secrets = [found.secret, *found.old_secrets]
        secret = secrets[self._secret_in_use.get(facts.client_name, 0) % len(secrets)]
        return Client(found.id, secret.get_secret_value() if secret else None)

    def try_next_secret(self, facts: Platform, refused: Client) -> bool:
        """A secret was refused: go on to the next one that is set; False where all have been tried."""
        if self.client(facts) != refused:
            return True  # somebody who was refused at the same time has gone on already
        found = self._settings.client(facts.client_name)
        count = 1 + len(found.old_secrets) if found else 1
        following = (self._secret_in_use.get(facts.client_name, 0) + 1) % count
        self._secret_in_use[facts.client_name] = following
        return following != 0

    def client_key(self, facts: Platform) -> str:
        """Our OAuth client as it is set now: under another id or secret it is another one, not to blame for the first.

        What stands for the secrets is far too short to find one by.
        """
        found = self._settings.client(facts.client_name)
        if found is None:
            return facts.client_name
        secrets = [secret.get_secret_value() for secret in (found.secret, *found.old_secrets) if secret]
        return f"{facts.client_name}#{sha256(chr(0).join([found.id, *secrets]).encode()).hexdigest()[:8]}"

    def of_clients(self, keys: Collection[str]) -> list[str]:
        """The platforms that use these OAuth clients of ours, given as `client_key` has them."""
        return [plugin.name for plugin in self._plugins.platforms if self.client_key(plugin.facts) in keys]

    def title(self, name: str) -> str:
        """What people call a platform, installed or not."""
        facts = self.known(name)
        return facts.title if facts else name.title()

    def hint(self, name: str) -> str:
        """What a user should know about connecting this platform again."""
        facts = self.known(name)
        return facts.reconnect_hint if facts else ""

    def way(self, name: str, use: str = "reading") -> Outbound:
        """The bounded way out to a platform."""
        if (name, use) not in self._ways:
            if self._trusted is None:
                self._trusted = self._context()
            self._ways[name, use] = open_way(self.addresses(name), self._trusted, self._settings.concurrency)
        return self._ways[name, use]

    def token_way(self, name: str) -> Outbound:
        """The same, with connections of its own: reading that hangs holds up no token."""
        return self.way(name, "tokens")

    def addresses(self, name: str) -> Addresses:
        """Where a platform is."""
        mine = self.settings(name)
        return Addresses.of(self.facts(name), mine.api_url, mine.oauth_url)

    def http(self, name: str) -> httpx.AsyncClient:
        """A client for a platform's API; it is kept and shared."""
        if name not in self._clients:
            self._clients[name] = client_over(self.way(name))
        return self._clients[name]

    async def revoke(self, name: str, token: Token) -> bool:
        """Ask a platform to forget a grant, again where it is away for a moment (RFC 7009 section 2.2.1).

        False where it cannot be asked, or did not confirm.
        """
        try:
            return await self._revoke(name, token)
        except (SoulwatchError, httpx.HTTPError) as broken:
            logger.warning("the grant was not revoked at the platform: %s", broken, extra={"platform": name})
            return False

    async def _revoke(self, name: str, token: Token) -> bool:
        end = self._clock.monotonic() + REVOKE_WITHIN_S
        for usual in REVOKE_AGAIN_AFTER_S:
            try:
                return await self._revoke_once(name, token, end)
            except (Unavailable, httpx.TransportError) as broken:
                wait = self._asked_to_wait(broken, usual)
                if self._clock.monotonic() + wait >= end:
                    raise
            await self._clock.sleep(wait)
        return await self._revoke_once(name, token, end)

    async def _revoke_once(self, name: str, token: Token, end: float) -> bool:
        facts = self.facts(name)
        way = self.token_way(name).limited(LARGEST_TOKEN_ANSWER, end - self._clock.monotonic())
        http = client_over(way)
        http.event_hooks = {"response": [self._note_when]}
        return await facts.oauth.revoke(token, self.client(facts), http)

    async def _note_when(self, response: httpx.Response) -> None:
        response.extensions[RECEIVED_AT] = self._clock.now()

    def _asked_to_wait(self, broken: Exception, usual: float) -> float:
        until = broken.retry_at if isinstance(broken, Unavailable) else None
        return usual if until is None else max(0.0, (until - self._clock.now()).total_seconds())

    async def close(self) -> None:
        """Close all connections to platforms."""
        for way in self._ways.values():
            await way.aclose()
