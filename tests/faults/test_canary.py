import os
import re
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
import pytest
from sqlalchemy import text
from support.installation import KEY_FILE, Installation, install_leaky
from support.overheard import Overheard
from support.refreshing import change
from support.terminal import Terminal
from support.world import World

from soulwatch.host.keys import parse_key
from soulwatch_sandbox import Sandbox, answer_consent, running

PASSWORD = "canary-Database-Password-8dW3"
CLIENT_SECRETS = {name: f"canary-{name}-Secret-9fK2xQ7vT4" for name in ("sandbox", "leaky")}
ODD_TOKEN = "canary-Odd-Token-7hR4mZ"
APP = "https://app.example.com"
MEANT = {
    ("GET", "/"): ("CSRF token",),
    ("POST", "/sign-in"): ("session",),
    ("GET", "/connect/sandbox"): ("state", "connect cookie"),
    ("GET", "/connect/leaky"): ("state", "connect cookie"),
    ("GET", "/connect/sandbox/callback"): ("redeem code",),
    ("POST", "/api/ws-tickets"): ("ticket",),
    ("POST", "/api/connect-sessions"): ("link",),
    ("POST", "/api/users/ada/token"): ("access token",),
}
REFUSALS = (
    {"kind": "invalid_grant"},
    {"kind": "invalid_client"},
    {"kind": "status", "status": 500},
    {"kind": "html"},
    {"kind": "malformed"},
    {"kind": "cut"},
    {"kind": "redirect"},
    {"kind": "limited"},
)


@asynccontextmanager
async def installed(folder, database_url):
    """An installation on a sandbox that is overheard, with a plugin that tells all it knows."""
    home, packages = folder / "home", folder / "packages"
    (home / "tmp").mkdir(parents=True)
    install_leaky(packages)
    with Sandbox(item_every=None, grace=3600) as sandbox:
        sandbox.app = overheard = Overheard(sandbox.app)
        for name, secret in CLIENT_SECRETS.items():
            sandbox.register("sandbox", f"{name}-client", secret, [f"http://127.0.0.1/connect/{name}/callback"])
        async with running(sandbox) as url, AsyncExitStack() as stack:
            variables = {
                "PYTHONPATH": os.pathsep.join([str(packages), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]),
                "TMPDIR": str(home / "tmp"),
                "SOULWATCH_LOG_LEVEL": "DEBUG",
                "SOULWATCH_DATA_DIR": str(folder),
                "SOULWATCH_PORT": "0",
                "SOULWATCH_RETURN_TO_ORIGINS": APP,
                "DATABASE_URL": database_url,
            }
            for name, secret in CLIENT_SECRETS.items():
                where = f"SOULWATCH_PLATFORMS__{name.upper()}__"
                variables |= {f"{where}API_URL": url, f"{where}OAUTH_URL": url}
                variables |= {f"{name.upper()}_CLIENT_ID": f"{name}-client", f"{name.upper()}_CLIENT_SECRET": secret}
            world = World(sandbox, url, folder, database_url)
            yield Installation(world, overheard, Terminal(home, variables), MEANT, stack)


async def sign_in(ours):
    """A browser with a session, after a code that is wrong and with one that is shown twice."""
    browser = await ours.visitor()
    code = (await ours.type("login-code", meant=("sign-in code",))).rpartition("#")[2].split()[0]
    ours.canaries.add("sign-in code", code, code.replace("-", ""))
    for one in ("2222-3333-4444", code, code):
        await browser.post("/sign-in", data={"code": one})
    ours.canaries.add("session", *[cookie.value for cookie in browser.cookies.jar])
    csrf = re.search(r'data-csrf="([^"]+)"', (await browser.get("/")).text)[1]
    ours.canaries.add("CSRF token", csrf)
    browser.headers["X-CSRF-Token"] = csrf
    return browser


async def application_of(ours):
    key = re.search(r"sw_[\w-]+", await ours.type("apikeys", "create", "app", meant=("API key",)))[0]
    ours.canaries.add("API key", key)
    return await ours.visitor(headers={"Authorization": f"Bearer {key}"})


async def consented(ours, browser, start):
    """Where the platform sends a browser that follows `start`."""
    away = (await browser.get(start)).headers["location"]
    ours.canaries.add("connect cookie", *[cookie.value for cookie in browser.cookies.jar if "connect" in cookie.name])
    async with httpx.AsyncClient(trust_env=False) as elsewhere:
        return await answer_consent(elsewhere, away)


async def connected(ours, browser, platform):
    """A connection, after one that the platform refuses and one that comes back to another browser."""
    ours.overheard.echo = ("/sandbox/token", 500)
    await browser.get(await consented(ours, browser, f"/connect/{platform}?user=ada"))
    ours.overheard.echo = None
    await (await ours.visitor()).get(await consented(ours, browser, f"/connect/{platform}?user=ada"))
    back = await consented(ours, browser, f"/connect/{platform}?user=ada")
    made = (await browser.get(back)).headers["location"].partition("connected=")[2]
    await browser.get(back)
    return made


async def connected_for_an_application(ours, application):
    """A connection by a link that an application made, redeemed after a wrong try."""
    asked = {"user": "bea", "platform": "sandbox", "return_to": f"{APP}/done"}
    session = (await application.post("/api/connect-sessions", json=asked)).json()
    ours.canaries.add("link", parse_qs(urlsplit(session["url"]).query)["link"][0])
    browser = await ours.visitor()
    away = await consented(ours, browser, session["url"].removeprefix(ours.url))
    code = parse_qs(urlsplit((await browser.get(away)).headers["location"]).query)["code"][0]
    ours.canaries.add("redeem code", code)
    for one in ("wrong", code, code):
        await application.post(f"/api/connect-sessions/{session['id']}/activate", json={"code": one})


async def asked_for(host, application, connection, what):
    """A refresh or a poll now, as if nothing had ever gone wrong."""
    async with host.database.writing() as transaction:
        await transaction.execute(text("DELETE FROM client_breakers"))
        await transaction.execute(text("UPDATE polls SET reason = NULL, fail_count = 0"))
    well = {"last_attempt_at": None, "doubted_at": None, "fail_count": 0, "reason": None}
    await change(host, connection, **well)
    await application.post(f"/api/connections/{connection.id}/{what}")


async def refused(ours, host, application, connection, what, path):
    """Every way in which it is refused, and some in which the platform says back all that it was told."""
    for fault in REFUSALS:
        ours.world.sandbox.faults.add(path=path, **fault)
        await asked_for(host, application, connection, what)
    ours.world.sandbox.faults.clear()
    for status in (307, 400, 401, 403, 404, 410, 429, 500):
        ours.overheard.echo = (f"/sandbox{path}", status)
        await asked_for(host, application, connection, what)
    ours.overheard.echo = None
    await asked_for(host, application, connection, what)


async def asked_wrongly(ours, browser, application):
    """Requests that are refused, with secrets where none belong; their answers go to who sent them."""
    visitor = await ours.visitor()
    shown = application.headers["Authorization"].removeprefix("Bearer ")
    await visitor.get("/api/connections", headers={"Authorization": f"Bearer {shown}x"})
    await visitor.get("/healthz")
    await visitor.get("/readyz")
    await visitor.get("/connect/sandbox/callback?state=wrong-State-0123456789&code=wrong-Code-0123456789")
    await application.get("/api/nowhere")
    await application.put("/api/data")
    await application.get("/api/data?limit=0")
    await application.post("/api/ws-tickets", content=b"{")
    await application.post("/api/ws-tickets", json={"user": ["ada"]})
    await application.post("/api/users/nobody/token", json={"platform": "sandbox"})
    del browser.headers["X-CSRF-Token"]
    await browser.post("/api/users/ada/message", json={"type": "hello"})


async def given_an_odd_token(ours, host, application, connection):
    """A token that cannot stand in a header: whoever complains of it may quote it."""
    ours.canaries.add("access token", ODD_TOKEN)
    ours.world.sandbox.faults.add("set_member", path="/token", name="access_token", value=f"{ODD_TOKEN}\n\x7f")
    for what in ("refresh", "poll", "refresh"):
        await asked_for(host, application, connection, what)


async def broken(host, application, connection):
    """The tables that events and items are in are gone for a while: answers and refreshes end in tracebacks."""
    tables = ("events", "user_platform_data")

    async def rename(suffix_from, suffix_to):
        async with host.database.writing() as transaction:
            for name in tables:
                await transaction.execute(text(f"ALTER TABLE {name}{suffix_from} RENAME TO {name}{suffix_to}"))

    await rename("", "_gone")
    for path in ("/api/events?user=ada", "/api/data"):
        assert (await application.get(path)).status_code in (500, 503)
    for what in ("refresh", "poll"):
        await asked_for(host, application, connection, what)
    await rename("_gone", "")


async def commanded(ours, connection_id):
    """Every command that tells or does something."""
    for words in (
        ("plugins", "--json"),
        ("connections",),
        ("connections", "--json"),
        ("data", "--user", "ada", "--json"),
        ("config",),
        ("doctor",),
        ("apikeys", "list"),
        ("keys", "rotate"),
        ("poll", "--user", "ada"),
        ("refresh", "--connection", connection_id),
        ("message", "ada", '{"type": "hello"}'),
        ("refresh", "--user", "nobody", "--platform", "sandbox"),
    ):
        await ours.type(*words)


async def lived_through(ours, host):
    """The life of an installation, with every trouble that may make somebody say too much."""
    with ours.serving() as process:
        browser, application = await sign_in(ours), await application_of(ours)
        ticket = (await application.post("/api/ws-tickets", json={"user": "ada"})).json()["ticket"]
        ours.canaries.add("ticket", ticket)
        async with ours.listening(ticket):
            ids = {platform: await connected(ours, browser, platform) for platform in CLIENT_SECRETS}
            rows = {platform: await host.accounts.row(made) for platform, made in ids.items()}
            await connected_for_an_application(ours, application)
            await application.post("/api/users/ada/token", json={"platform": "sandbox"})
            for row in rows.values():
                await refused(ours, host, application, row, "poll", "/v1")
                await refused(ours, host, application, row, "refresh", "/token")
            await given_an_odd_token(ours, host, application, rows["sandbox"])
            await asked_wrongly(ours, browser, application)
            await broken(host, application, rows["sandbox"])
            await browser.get("/")
        process.process.kill()
    with ours.serving(SOULWATCH_PLATFORMS__SANDBOX__OAUTH_URL=ours.world.url.replace("http:", "https:")) as process:
        application = await ours.visitor(headers=application.headers)
        await asked_for(host, application, rows["sandbox"], "refresh")
        ours.overheard.echo = ("/sandbox/revoke", 500)
        await application.delete(f"/api/connections/{ids['leaky']}")
        ours.overheard.echo = None
        process.end()
    await commanded(ours, ids["sandbox"])
    await ours.type("disconnect", "--yes", ids["sandbox"])


def let_loose(ours):
    """All secrets that there were."""
    canaries, ledger = ours.canaries, ours.world.sandbox._ledger
    canaries.add("client secret", *CLIENT_SECRETS.values())
    canaries.add("database password", PASSWORD)
    key = (ours.world.folder / KEY_FILE).read_text().strip()
    canaries.add("encryption key", key, parse_key(key))
    for row in ledger.rows("select kind, value from tokens"):
        canaries.add(f"{row['kind']} token", row["value"])
    canaries.add("authorization code", *[row["code"] for row in ledger.rows("select code from codes")])
    for kind, secret in ours.overheard.heard:
        canaries.add(kind, secret)


@pytest.mark.slow
@pytest.mark.fault("F27", how="real")
async def test_no_secret_is_found_anywhere_after_a_life_full_of_troubles_at_debug(tmp_path, database_url, request):
    is_postgres = database_url.startswith("postgresql")
    async with installed(tmp_path, database_url.replace("postgres@", f"postgres:{PASSWORD}@")) as ours:
        async with ours.world.host() as host, anyio.create_task_group() as group:
            group.start_soon(ours.watch)
            await lived_through(ours, host)
            group.cancel_scope.cancel()
        if is_postgres:
            server = request.getfixturevalue("postgres")
            name = database_url.partition("?")[0].rpartition("/")[2]
            server.run("pg_dump", "-h", str(server.folder), "-U", "postgres", "-f", "dump.sql", name)
            ours.hear("the dump", (server.folder / "dump.sql").read_bytes())
            ours.hear("the log of PostgreSQL", (server.folder / "log").read_bytes())
        let_loose(ours)
    kinds = set(ours.canaries.kinds.values())
    assert kinds >= {kind for kinds in MEANT.values() for kind in kinds} | {"PKCE verifier", "refresh token"}
    assert ours.overheard.echoed > 20
    log = "\n".join(said.decode() for where, said, _ in ours.said if where == "the log")
    for trouble in (
        "Traceback",
        "leaky failed with RuntimeError in refresh_token",
        "token not refreshed",
        "[redacted]",
    ):
        assert trouble in log
    assert ours.leaks() == []
