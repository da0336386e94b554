from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
import types
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from soulwatch import Account, Client, Connection, Endpoint, Event, NeedsReauth, Token, hookspecs
from soulwatch.host.plugins import Plugins

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "hooks.md").read_text("utf-8")
SECTIONS = {title.partition("(")[0]: text for title, text in re.findall(r"(?ms)^## `(.+?)`\n(.*?)(?=^## |\Z)", PAGE)}
HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "soulwatch_spec")}
ADA = Connection("c-1", "ada", "library", Account("u-1", "Ada"), scopes=("loans", "fines"))


def signature(name: str) -> str:
    found = inspect.signature(HOOKS[name])
    arguments = ", ".join(f"{one.name}: {one.annotation}" for one in found.parameters.values())
    return f"{name}({arguments}) -> {found.return_annotation}"


def plugin_of(hook: str, name: str):
    """The example of a hook, taken into use as the host does it."""
    (block,) = re.findall(r"(?s)```python\n(.*?)```", SECTIONS[hook])
    module = types.ModuleType(name)
    exec(compile(block, f"hooks.md {hook}", "exec"), vars(module))
    return Plugins().register(getattr(module, name, module), name)


def test_each_hook_has_a_heading_with_its_signature_and_nothing_else_has():
    headings = re.findall(r"(?m)^## `(.+)`$", PAGE)
    assert headings == [signature(name) for name in HOOKS]


@pytest.mark.parametrize("name", HOOKS)
def test_the_example_in_a_docstring_is_python(name):
    lines = (HOOKS[name].__doc__ or "").splitlines()
    begin = next(number for number, line in enumerate(lines) if line.strip() == "@hookimpl")
    code = itertools.takewhile(str.strip, lines[begin:])
    parsed = ast.parse(textwrap.dedent("\n".join(code)))
    (function,) = parsed.body
    assert function.name == name


def test_the_platform_of_the_example_is_taken():
    plugin = plugin_of("platform", "mastodon")
    assert plugin.facts.oauth.scopes == ("read",)


async def test_the_odd_refresh_brings_a_token_and_names_a_refusal():
    answers = iter([httpx.Response(200, json={"access": "a2", "renew": "r2", "seconds": 60}), httpx.Response(403)])
    plugin = plugin_of("refresh_token", "odd")
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: next(answers))) as http:
        fresh = await plugin.refresh_token(Token("a1", "r1"), Client("id", "secret"), http)
        assert (fresh.access, fresh.refresh) == ("a2", "r2")
        assert fresh.expires_at.tzinfo is not None
        with pytest.raises(NeedsReauth):
            await plugin.refresh_token(fresh, Client("id", "secret"), http)


async def test_the_endpoints_of_the_example_depend_on_the_connection():
    plugin = plugin_of("poll_endpoints", "library")
    assert list(await plugin.endpoints(ADA)) == ["loans", "fines"]
    assert list(await plugin.endpoints(Connection("", "", "library", Account("", "")))) == ["loans"]


async def test_the_schedules_of_the_example_differ():
    plugin = plugin_of("schedule", "radio")
    assert await plugin.schedule(Endpoint("now_playing", "https://radio.example/now")) == timedelta(minutes=10)
    assert await plugin.schedule(Endpoint("plays", "https://radio.example/plays")) == "0 4 * * *"


async def test_the_listener_of_the_example_hears_who_has_to_help(caplog):
    plugin = plugin_of("on_event", "listener")
    await plugin.tell(Event("connection_status", "ada", "spotify", data={"status": "needs_reauth"}))
    assert "ada has to connect spotify again" in caplog.text
