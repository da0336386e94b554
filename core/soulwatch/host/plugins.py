"""The installed plugins: ask one, or tell all. The only file that speaks to pluggy."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, distributions
from typing import Any

import anyio
import httpx
import pluggy

from soulwatch import hookspecs
from soulwatch.endpoint import Endpoint, Schedule
from soulwatch.errors import PluginError, SoulwatchError
from soulwatch.host.plugin_checks import check_endpoints, check_platform, check_token
from soulwatch.platform import Platform
from soulwatch.values import Client, Connection, Event, Token

logger = logging.getLogger("soulwatch.plugins")

GROUP = "soulwatch"
TELLING_TAKES_S = 1.0
"""A plugin that takes longer over an event is not waited for."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin that is installed but not in use, and why."""

    plugin: str
    distribution: str
    why: str


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin in use. A platform's plugin answers for it; what it answers is checked here."""

    name: str
    distribution: str
    version: str
    platform: Platform | None
    hooks: tuple[str, ...]
    _answers: pluggy.HookRelay = field(repr=False)

    @property
    def facts(self) -> Platform:
        """The platform it is a plugin for. Raises PluginError where it is for none."""
        if self.platform is None:
            raise PluginError(f"The plugin {self.name} is for no platform.", plugin=self.name)
        return self.platform

    async def refresh_token(self, token: Token, client: Client, http: httpx.AsyncClient) -> Token:
        """The new token. Raises PlatformError as the plugin says, PluginError where it is at fault."""
        answer = await self._ask("refresh_token", token=token, client=client, http=http)
        return check_token(self.name, answer)

    async def endpoints(self, connection: Connection) -> Mapping[str, Endpoint]:
        """What is worth polling for this connection, by data type."""
        return check_endpoints(self.name, await self._ask("poll_endpoints", connection=connection))

    async def schedule(self, endpoint: Endpoint) -> Schedule:
        """How often an endpoint is to be polled."""
        answer: Schedule = await self._ask("schedule", endpoint=endpoint)
        return answer

    async def tell(self, event: Event) -> None:
        """Tell this plugin alone. Whatever it raises is logged and goes no further."""
        try:
            with anyio.fail_after(TELLING_TAKES_S):
                for answer in self._answers.on_event(event=event):
                    if inspect.isawaitable(answer):
                        await answer
        except (Exception, SystemExit):
            logger.exception("plugin %s failed on event %s", self.name, event.type)

    async def _ask(self, hook: str, **question: Any) -> Any:
        try:
            answer = getattr(self._answers, hook)(**question)
            return await answer if inspect.isawaitable(answer) else answer
        except (SoulwatchError, httpx.HTTPError):
            raise
        except (Exception, SystemExit) as broken:
            # What an exception says of a token answer may hold the token: its kind has to do there.
            said = "" if hook == "refresh_token" else f": {broken}"
            raise PluginError(
                f"The plugin {self.name} failed with {type(broken).__name__} in {hook}{said}. "
                f"Its other work goes on; report it to the authors of {self.distribution}.",
                plugin=self.name,
            ) from broken


class Plugins:
    """Every plugin that loaded, by name, and a problem for each that did not."""

    def __init__(self) -> None:
        self._in_use: dict[str, Plugin] = {}
        self.problems: list[Problem] = []

    def __getitem__(self, name: str) -> Plugin:
        if name not in self._in_use:
            why = next((problem.why for problem in self.problems if problem.plugin == name), "it is not installed")
            raise PluginError(f"There is no plugin {name!r}: {why}. See `soulwatch plugins`.", plugin=name)
        return self._in_use[name]

    def get(self, name: str) -> Plugin | None:
        """The plugin of this name, or None."""
        return self._in_use.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._in_use

    def __iter__(self) -> Iterator[Plugin]:
        return iter(self._in_use.values())

    @property
    def platforms(self) -> Sequence[Plugin]:
        """The plugins that are for a platform, by name."""
        return sorted((plugin for plugin in self if plugin.platform), key=lambda plugin: plugin.name)

    def discover(self, *, allow: Sequence[str] | None = None, deny: Sequence[str] = ()) -> None:
        """Load what is installed. One that fails is recorded and the rest goes on; what is denied is not imported."""
        claims: dict[str, list[EntryPoint]] = {}
        for entry in self._installed():
            claims.setdefault(entry.name, []).append(entry)
        for name, entries in sorted(claims.items()):
            owners = sorted({_distribution(entry)[0] for entry in entries})
            if len(owners) > 1:
                # The wrong one of them would be handed a client secret.
                why = f"{' and '.join(owners)} both claim this name: uninstall one of them"
                self.problems.extend(Problem(name, owner, why) for owner in owners)
            elif name in deny or (allow is not None and name not in allow):
                self.problems.append(Problem(name, owners[0], "switched off by the settings plugins.allow or .deny"))
            else:
                self._load(entries[0])

    def _installed(self) -> Iterator[EntryPoint]:
        """What distributions say they have; one whose records are broken keeps none of the others from being found."""
        seen: set[str] = set()
        for distribution in distributions():
            name = ""
            try:
                name = re.sub(r"[-_.]+", "-", distribution.metadata["Name"] or "").lower()
                if name in seen:
                    continue  # the first on the path is the one that is imported
                seen.add(name)
                found = list(distribution.entry_points.select(group=GROUP))
            except Exception as broken:  # noqa: BLE001 - whatever is written there
                if f"[{GROUP}]" in (distribution.read_text("entry_points.txt") or ""):
                    self.problems.append(Problem(name, name, f"its entry_points.txt cannot be read: {broken}"))
                continue
            yield from found

    def _load(self, entry: EntryPoint) -> None:
        distribution, version = _distribution(entry)
        try:
            plugin = entry.load()
        except (Exception, SystemExit) as broken:  # noqa: BLE001 - whatever an import does, the host goes on
            why = f"importing {entry.value} failed: {type(broken).__name__}: {broken}"
            self.problems.append(Problem(entry.name, distribution, why))
            return
        try:
            self.register(plugin, entry.name, distribution, version)
        except PluginError as broken:
            self.problems.append(Problem(entry.name, distribution, str(broken)))

    def register(
        self, plugin: object, name: str, distribution: str = "", version: str = "", *, is_first: bool = False
    ) -> Plugin:
        """Take one plugin into use, to be told before all others if `is_first`.

        Raises PluginError where it does not fit the hooks.
        """
        # A manager of its own: an async hook asked of several plugins would be answered by the first alone.
        manager = pluggy.PluginManager(hookspecs.PROJECT)
        manager.add_hookspecs(hookspecs)
        try:
            manager.register(plugin, name)
            manager.check_pending()
            platform = check_platform(name, manager.hook.platform())
        except PluginError:
            raise
        except (Exception, SystemExit) as broken:
            raise PluginError(f"it does not fit the hooks: {broken}", plugin=name) from broken
        hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin) or ()))
        in_use = Plugin(name, distribution, version, platform, hooks, manager.hook)
        self._in_use = {name: in_use, **self._in_use} if is_first else {**self._in_use, name: in_use}
        return in_use

    async def announce(self, event: Event) -> None:
        """Tell every plugin that should hear it, one by one; one that fails keeps nobody else from hearing."""
        for plugin in self:
            if "on_event" in plugin.hooks and (plugin.platform is None or plugin.name == event.platform):
                await plugin.tell(event)


def _distribution(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("an unknown distribution", "")
