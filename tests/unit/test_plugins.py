import logging
import sys
import textwrap
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from soulwatch import (
    Account,
    Client,
    Connection,
    Connector,
    Endpoint,
    Event,
    Identity,
    OAuth2,
    Platform,
    PluginError,
    RateLimited,
    Token,
    hookimpl,
)
from soulwatch.host.plugins import Plugins

FACTS = """
from soulwatch import Connector, Endpoint, Identity, OAuth2, Platform, hookimpl

def facts(name, **more):
    return Platform(**{
        "name": name,
        "title": name.title(),
        "oauth": OAuth2(f"https://{name}.example/a", f"https://{name}.example/t"),
        "hosts": (f"api.{name}.example",),
        "identity": Identity(f"https://api.{name}.example/me"),
        **more,
    })
"""
GOOD = "plugin = Connector(facts('{name}'), [])"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes distributions on the path of this process, as pip would leave them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install_(name, source, *, distribution=None, entries=None, metadata=True):
        module = f"invented_{name.replace('-', '_')}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{module}.py").write_text(FACTS + textwrap.dedent(source))
        distribution = distribution or f"soulwatch-{name}"
        info = tmp_path / f"{distribution.replace('-', '_')}-1.2.dist-info"
        info.mkdir(exist_ok=True)
        if metadata:
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        default = f"[soulwatch]\n{name} = {module}:plugin\n"
        with (info / "entry_points.txt").open("a") as file:
            file.write(default if entries is None else entries.format(module=module))
        monkeypatch.delitem(sys.modules, module, raising=False)
        return module

    return install_


@pytest.fixture
def good(install):
    install("good", GOOD.format(name="good"))


def discovered(**which):
    plugins = Plugins()
    plugins.discover(deny=("spotify", "github", "sandbox"), **which)
    plugins.problems = [problem for problem in plugins.problems if "switched off" not in problem.why]
    return plugins


def problem_of(name):
    """Why `name` is not in use, while the good one is."""
    plugins = discovered()
    assert "good" in plugins
    assert name not in plugins
    [problem] = plugins.problems
    assert problem.plugin == name
    with pytest.raises(PluginError, match="See `soulwatch plugins`") as refused:
        plugins[name]
    assert problem.why in str(refused.value)
    return problem


def test_an_installed_plugin_is_found_by_its_entry_point(install, good):
    install("other", GOOD.format(name="other"))
    plugins = discovered()

    assert plugins.problems == []
    assert [plugin.name for plugin in plugins.platforms] == ["good", "other"]
    found = plugins["good"]
    assert (found.distribution, found.version, found.facts.title) == ("soulwatch-good", "1.2", "Good")
    assert found.hooks == ("platform", "poll_endpoints", "refresh_token", "schedule")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise RuntimeError('out of cheese')", "RuntimeError: out of cheese"),
        ("import sys; sys.exit('goodbye')", "SystemExit: goodbye"),
        ("import a_module_nobody_has", "ModuleNotFoundError: No module named 'a_module_nobody_has'"),
        ("def broken(:", "SyntaxError"),
        ("plugin_ = 1", "AttributeError"),
        ("plugin = 1 / 0", "ZeroDivisionError"),
    ],
)
@pytest.mark.usefixtures("good")
def test_a_plugin_that_breaks_at_import_is_listed_with_the_reason(install, source, why):
    module = install("bad", source)

    problem = problem_of("bad")
    assert problem.distribution == "soulwatch-bad"
    assert problem.why.startswith(f"importing {module}:plugin failed: ")
    assert why in problem.why


@pytest.mark.parametrize(
    ("source", "why"),
    [
        pytest.param(
            """
            class Misspelt(Connector):
                @hookimpl
                def poll_endpoint(self, connection):
                    return []

            plugin = Misspelt(facts('bad'), [])
            """,
            "poll_endpoint",
            id="a misspelt hook",
        ),
        pytest.param(
            """
            class Misspelt(Connector):
                @hookimpl
                def schedule(self, endpoints):
                    return None

            plugin = Misspelt(facts('bad'), [])
            """,
            "endpoints",
            id="a misspelt argument",
        ),
        pytest.param("plugin = Connector(facts('another'), [])", "named 'another'", id="a wrong name"),
        pytest.param("plugin = Connector('bad', [])", "platform() gave str, expected a Platform", id="no platform"),
        pytest.param("plugin = Connector(facts('bad', oauth=None), [])", "does not fit the hooks", id="no OAuth"),
        pytest.param(
            "plugin = Connector(facts('bad', oauth=OAuth2('http://bad.example/a', 'https://bad.example/t')), [])",
            "'http://bad.example/a' is no https address",
            id="an address in clear",
        ),
        pytest.param(
            "plugin = Connector(facts('bad', oauth=OAuth2('https://', 'https://bad.example/t')), [])",
            "no https address",
            id="an address without host",
        ),
        pytest.param("plugin = Connector(facts('bad', hosts=()), [])", "do not hold the host", id="no hosts"),
        pytest.param(
            "plugin = Connector(facts('bad', hosts=('api.elsewhere.example',)), [])",
            "do not hold the host",
            id="hosts without its own",
        ),
        pytest.param(
            "plugin = Connector(facts('bad', hosts=('api.bad.example')), [])",
            "has hosts 'api.bad.example', expected a tuple of texts",
            id="hosts without the comma",
        ),
        pytest.param(
            "plugin = Connector(facts('bad', oauth=OAuth2('https://a.example', 'https://b.example', scopes='x')), [])",
            "has scopes 'x', expected a tuple of texts",
            id="scopes without the comma",
        ),
        pytest.param(
            """
            class Plugin:
                @hookimpl
                def platform(self):
                    raise SystemExit(3)

            plugin = Plugin()
            """,
            "does not fit the hooks: 3",
            id="an exit in a hook",
        ),
    ],
)
@pytest.mark.usefixtures("good")
def test_a_plugin_that_does_not_fit_is_listed_with_the_reason(install, source, why):
    install("bad", source)

    assert why in problem_of("bad").why


@pytest.mark.usefixtures("good")
def test_of_two_that_claim_one_name_neither_is_used(install):
    install("bank", GOOD.format(name="bank"))
    thief = install("bank", "raise RuntimeError('imported!')", distribution="soulwatch-bank-pro")
    plugins = discovered()

    assert "good" in plugins
    assert "bank" not in plugins
    assert [(problem.plugin, problem.distribution) for problem in plugins.problems] == [
        ("bank", "soulwatch-bank"),
        ("bank", "soulwatch-bank-pro"),
    ]
    assert {problem.why for problem in plugins.problems} == {
        "soulwatch-bank and soulwatch-bank-pro both claim this name: uninstall one of them"
    }
    assert thief not in sys.modules


@pytest.mark.usefixtures("good")
def test_a_distribution_that_is_there_twice_is_one(install, tmp_path, monkeypatch):
    """An editable installation beside a usual one: the first on the path is the one that is imported."""
    install("twice", GOOD.format(name="twice"))
    behind = tmp_path / "behind" / "Soulwatch.Twice-1.1.dist-info"
    behind.mkdir(parents=True)
    (behind / "METADATA").write_text("Metadata-Version: 2.1\nName: Soulwatch.Twice\nVersion: 1.1\n")
    (behind / "entry_points.txt").write_text("[soulwatch]\ntwice = nowhere:plugin\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(behind.parent)])
    plugins = discovered()

    assert plugins.problems == []
    assert plugins["twice"].version == "1.2"


@pytest.mark.usefixtures("good")
def test_a_distribution_whose_records_are_broken_hides_no_other(install):
    install("bad", "", entries="[soulwatch]\nthis is no entry\n")
    install("unrelated", "", distribution="unrelated", entries="[console_scripts]\nnor is this\n")

    problem = problem_of("soulwatch-bad")
    assert problem.why.startswith("its entry_points.txt cannot be read")


@pytest.mark.parametrize("value", [":::", "nowhere", "nowhere:", "json:no.such.thing"])
@pytest.mark.usefixtures("good")
def test_an_entry_point_that_leads_nowhere_is_listed_with_the_reason(install, value):
    install("bad", "", entries=f"[soulwatch]\nbad = {value}\n")

    assert f"importing {value} failed" in problem_of("bad").why


@pytest.mark.parametrize("which", [{"allow": ("good",)}, {"deny": ("denied",)}])
@pytest.mark.usefixtures("good")
def test_what_the_operator_denies_is_not_even_imported(install, which):
    denied = install("denied", "raise RuntimeError('imported!')")
    plugins = Plugins()
    plugins.discover(**which)

    assert "good" in plugins
    assert "denied" not in plugins
    assert denied not in sys.modules
    assert any(problem.plugin == "denied" and "switched off" in problem.why for problem in plugins.problems)


def test_a_plugin_that_is_no_platform_is_none(install):
    install(
        "ears",
        """
        class Ears:
            @hookimpl
            def on_event(self, event):
                pass

        plugin = Ears()
        """,
    )
    plugins = discovered()

    assert plugins["ears"].platform is None
    assert plugins.platforms == []
    with pytest.raises(PluginError, match="for no platform"):
        plugins["ears"].facts  # noqa: B018  - asking is what raises


def test_a_module_may_be_a_plugin(install):
    install(
        "plain", "@hookimpl\ndef platform():\n    return facts('plain')\n", entries="[soulwatch]\nplain = {module}\n"
    )

    assert discovered()["plain"].facts.name == "plain"


def test_who_is_not_there_is_named():
    with pytest.raises(PluginError, match="There is no plugin 'strava': it is not installed") as refused:
        Plugins()["strava"]

    assert refused.value.plugin == "strava"


# What plugins answer

OAUTH = OAuth2("https://a.example/a", "https://a.example/t")
PLATFORM = Platform("example", "Example", OAUTH, ("api.example",), Identity("https://api.example/me"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD = Token("access-1", "refresh-1")
WHOSE = Connection("c-1", "ada", "example", Account("7", "ada"))


def plugin(**hooks):
    """A plugin that gives, awaits or raises what it is told to."""

    class Odd(Connector):
        @hookimpl
        async def refresh_token(self, token, client, http):
            return self._said("refresh_token")

        @hookimpl
        def poll_endpoints(self, connection):
            return self._said("poll_endpoints")

        def _said(self, name):
            said = hooks[name]
            if isinstance(said, BaseException):
                raise said
            return said

    return Plugins().register(Odd(PLATFORM, []), "example", "soulwatch-example")


async def refreshed(said):
    async with httpx.AsyncClient() as http:
        return await plugin(refresh_token=said).refresh_token(OLD, Client("id"), http)


async def test_a_hook_that_works_may_be_async_or_not():
    assert await refreshed(Token("access-2")) == Token("access-2")
    assert await plugin(poll_endpoints=[]).endpoints(WHOSE) == {}


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        "access-2",
        {"access_token": "access-2"},
        Token(""),
        Token(None),
        Token(b"access-2"),
        Token("a", b"refresh"),
        Token("a", ""),
        Token("a", expires_at=NOW.replace(tzinfo=None)),
        Token("a", expires_at=3600),
        Token("a", expires_at="2026-01-01"),
        Token("a", grant_expires_at=timedelta(days=1)),
        Token("a", scopes="read write"),
        Token("a", scopes=None),
        Token("a", scopes=(1, 2)),
    ],
)
async def test_a_token_that_is_none_is_the_plugins_fault(nonsense):
    with pytest.raises(PluginError, match="plugin example") as refused:
        await refreshed(nonsense)

    assert refused.value.plugin == "example"


@pytest.mark.parametrize(
    "nonsense",
    [
        None,
        7,
        "things",
        "",
        ["things"],
        {"things": "https://api.example/things"},
        [Endpoint("things", "https://api.example/1"), Endpoint("things", "https://api.example/2")],
        [Endpoint("things", "https://api.example/1", key="id")],
    ],
)
async def test_endpoints_that_are_none_are_the_plugins_fault(nonsense):
    with pytest.raises(PluginError, match="plugin example"):
        await plugin(poll_endpoints=nonsense).endpoints(WHOSE)


@pytest.mark.parametrize(
    "broken", [KeyError("items"), SystemExit(1), RecursionError(), ExceptionGroup("", [OSError()])]
)
async def test_a_hook_that_raises_is_the_plugins_fault_and_named(broken):
    with pytest.raises(
        PluginError, match=f"plugin example failed with {type(broken).__name__} in poll_endpoints"
    ) as refused:
        await plugin(poll_endpoints=broken).endpoints(WHOSE)

    assert "report it to the authors of soulwatch-example" in str(refused.value)


async def test_what_it_says_of_a_token_is_not_repeated():
    with pytest.raises(PluginError, match="failed with ValueError in refresh_token") as refused:
        await refreshed(ValueError("no expires_in in {'access_token': 'access-2'}"))

    assert "access-2" not in str(refused.value)


@pytest.mark.parametrize("said", [RateLimited(retry_at=NOW), httpx.ReadTimeout("late")])
async def test_what_a_platform_did_is_not_the_plugins_fault(said):
    with pytest.raises(type(said)):
        await refreshed(said)


# Telling


def ears(tell):
    heard = []

    class Ears:
        @hookimpl
        async def on_event(self, event):
            heard.append(event)
            await tell()

    return Ears(), heard


async def quiet():
    pass


async def loud():
    raise RuntimeError("no news, please")


async def leaving():
    raise SystemExit(3)


@pytest.mark.parametrize("tell", [loud, leaving])
async def test_one_that_fails_keeps_nobody_from_hearing(tell, caplog):
    plugins = Plugins()
    second, heard = ears(quiet)
    plugins.register(ears(tell)[0], "first")
    plugins.register(second, "second")
    with caplog.at_level(logging.ERROR):
        await plugins.announce(Event("new_data", "ada"))

    assert [event.type for event in heard] == ["new_data"]
    assert "plugin first failed on event new_data" in caplog.text


async def test_a_platforms_plugin_hears_of_its_own_platform_alone():
    own = []

    class Hearing(Connector):
        @hookimpl
        def on_event(self, event):
            own.append(event.platform)

    plugins = Plugins()
    plugins.register(Hearing(PLATFORM, []), "example")
    other, heard = ears(quiet)
    plugins.register(other, "ears")
    for name in ("example", "another", None):
        await plugins.announce(Event("new_data", "ada", name))

    assert own == ["example"]
    assert [event.platform for event in heard] == ["example", "another", None]
