import json
import re
import signal
import socket
import sqlite3
import time
from contextlib import ExitStack

import anyio
import httpx
import pytest
from support.commands import here, logging_as_it_was
from support.terminal import Terminal
from support.world import World
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from soulwatch.host.keys import generate_key
from soulwatch_sandbox import Sandbox, answer_consent, running

__all__ = ["here", "logging_as_it_was"]


@pytest.fixture
async def world(tmp_path):
    sandbox = Sandbox(item_every=None)
    async with running(sandbox) as url:
        yield World(sandbox, url, tmp_path, f"sqlite+aiosqlite:///{tmp_path}/soulwatch.db")


@pytest.fixture
def say(here, world):
    """Carry out a command of this world's installation, beside the sandbox's event loop."""
    here.set(
        SOULWATCH_DATA_DIR=str(world.folder),
        DATABASE_URL=world.database_url,
        SANDBOX_CLIENT_ID="invented-sandbox-client",
        SANDBOX_CLIENT_SECRET="invented-sandbox-secret",
        SOULWATCH_PLATFORMS__SANDBOX__API_URL=world.url,
        SOULWATCH_PLATFORMS__SANDBOX__OAUTH_URL=world.url,
    )

    async def carry_out(*words):
        return await anyio.to_thread.run_sync(here.run, *words)

    return carry_out


@pytest.fixture
async def connection(world):
    """Ada's connection to the sandbox, of which nothing has been polled yet."""
    async with world.host() as host:
        return await world.connect(host)


async def test_connections_shows_how_they_are_and_no_token(say, world, connection):
    told = (await say("connections")).out
    assert re.search(rf"^{connection.id} +ada +sandbox +Mira Vantongeren +connected", told, re.MULTILINE)
    (as_json,) = map(json.loads, (await say("connections", "--user", "ada", "--json")).out.splitlines())
    assert (as_json["id"], as_json["status"], as_json["account"]["id"]) == (connection.id, "connected", "mira")
    assert not {"access_token", "refresh_token"} & set(as_json)


async def test_poll_polls_everything_and_says_what_is_new(say, connection):
    done = await say("poll")
    new = dict(re.findall(rf"^{connection.id} +sandbox +(\w+) +(\d+)", done.out, re.MULTILINE))
    assert done.code == 0
    assert (new["notes"], new["archive"]) == ("60", "250")


async def test_poll_polls_what_it_is_told_to_and_nothing_else(say, connection):
    done = await say("poll", "--user", "ada", "--platform", "sandbox", "--data-type", "mood")
    assert [line.split()[2] for line in done.out.splitlines()] == ["TYPE", "mood"]


async def test_poll_names_the_endpoints_there_are_where_one_is_misspelt(say, connection):
    done = await say("poll", "--data-type", "moods")
    assert done.code == 1
    assert "There are: archive, follows, mood, notes." in done.err


async def test_poll_ends_with_one_and_the_reason_where_the_platform_does_not_answer(say, world, connection):
    world.sandbox.faults.add("status", pose="sandbox", path="/v1/mood", times=None, status=503)
    done = await say("poll", "--data-type", "mood")
    assert done.code == 1
    assert re.search(r"mood +0 +\S.*503", done.out)


async def test_poll_says_who_can_help_where_a_connection_is_at_its_end(say, world, connection):
    await say("disconnect", "--yes", connection.id)
    done = await say("poll", "--connection", connection.id)
    assert (done.code, done.out) == (1, "")
    assert "its user can connect it again" in done.err


@pytest.mark.parametrize("which", ["its id", "user and platform"])
async def test_refresh_gets_a_new_token_and_does_not_print_it(say, world, connection, which):
    words = ("--connection", connection.id) if which == "its id" else ("--user", "ada", "--platform", "sandbox")
    done = await say("refresh", *words)
    assert re.fullmatch(r"Sandbox: token good until \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ\.\n", done.out), done
    assert len(world.sandbox.token_requests("sandbox", "refresh_token")) == 1


async def test_data_is_shown_newest_first_and_no_more_than_asked_for(say, connection):
    await say("poll")
    rows = (await say("data", "--user", "ada", "--data-type", "notes", "--limit", "2")).out.splitlines()
    ids = [int(row.split()[0]) for row in rows[1:]]
    assert len(ids) == 2
    assert ids[0] > ids[1]


async def test_data_comes_as_one_object_a_line_each_of_them_once(say, connection):
    await say("poll")
    items = [json.loads(line) for line in (await say("data", "--limit", "100000", "--json")).out.splitlines()]
    assert len(items) == len({item["id"] for item in items}) > 310
    assert {item["user"] for item in items} == {"ada"}
    assert next(item for item in items if item["data_type"] == "notes")["raw_data"]["id"].startswith("note-")


async def test_data_of_many_pages_is_read_to_the_end(say, world, connection):
    await say("poll", "--data-type", "archive")
    items = (await say("data", "--data-type", "archive", "--limit", "249", "--json")).out.splitlines()
    assert len(items) == 249


async def test_a_message_is_kept_for_its_user(say, world, connection):
    done = await say("message", "ada", '{"type": "hello", "text": "ready"}')
    async with world.host() as host:
        newest = (await host.events("ada"))[-1]
    assert (newest.type, newest.data) == ("hello", {"text": "ready"})
    assert done.out == f"Sent to ada as event {newest.seq}.\n"


async def test_disconnect_ends_the_connection_here_and_at_the_platform(say, world, connection):
    assert (await say("disconnect", "--yes", connection.id)).out == "Disconnected.\n"
    (told,) = map(json.loads, (await say("connections", "--json")).out.splitlines())
    assert told["status"] == "disconnected"
    assert [request.path for request in world.sandbox.requests.of("sandbox", "/revoke", "POST")] == ["/revoke"]


async def test_disconnect_says_where_the_platform_did_not_confirm(say, world, connection):
    world.sandbox.faults.add("status", pose="sandbox", path="/revoke", times=None, status=503)
    done = await say("disconnect", "--yes", connection.id)
    assert (done.code, done.out) == (0, "Disconnected here.\n")
    assert "did not confirm" in done.err


async def test_disconnect_asks_first(say, connection):
    done = await say("disconnect", connection.id)
    assert done.code == 1
    assert "Disconnect the Sandbox account 'Mira Vantongeren' of 'ada'? [y/N]" in done.out
    assert json.loads((await say("connections", "--json")).out)["status"] == "connected"


async def test_after_keys_rotate_the_new_key_alone_opens_everything(say, here, world):
    old, new = generate_key(), generate_key()
    async with world.host(encryption_key=old) as host:
        await world.connect(host)
    here.set(ENCRYPTION_KEY=f"{new},{old}")
    done = await say("keys", "rotate")
    assert "1 moved" in done.out
    assert "A host that does not know the newest key yet" in done.out
    here.set(ENCRYPTION_KEY=new)
    assert (await say("refresh", "--user", "ada", "--platform", "sandbox")).code == 0


async def test_doctor_finds_nothing_to_fail_for(say, connection):
    done = await say("doctor")
    assert done.code == 0, done.out
    assert "fits what is sealed" in done.out


async def test_doctor_finds_times_that_are_yet_to_come(say, world, connection):
    with sqlite3.connect(world.folder / "soulwatch.db") as database:
        database.execute("UPDATE platform_connections SET updated_at = '2999-01-01 00:00:00'")
    database.close()
    done = await say("doctor")
    assert done.code == 1
    assert re.search(r"^fail +Clock and database: something happened at 2999-01-01", done.out, re.MULTILINE)


@pytest.mark.fault("F17")
async def test_doctor_names_the_client_that_is_refused_where_it_is_and_the_settings_to_mend(
    say, here, world, connection
):
    here.set(SANDBOX_CLIENT_SECRET="wrong")
    await say("refresh", "--connection", connection.id)
    done = await say("doctor")
    assert done.code == 1
    told = re.search(
        r"^fail +OAuth client sandbox: refused since [\d -:]+ UTC at (\S+): .*\n +(.*)", done.out, re.MULTILINE
    )
    assert told[1] == f"{world.url}/sandbox/token"
    assert told[2] == (
        "Mend SANDBOX_CLIENT_ID (it comes from environment SANDBOX_CLIENT_ID) and SANDBOX_CLIENT_SECRET (it comes from "
        "environment SANDBOX_CLIENT_SECRET) and restart the host. No user has to do anything."
    )
    here.set(SANDBOX_CLIENT_SECRET="invented-sandbox-secret")
    done = await say("doctor")
    assert done.code == 0
    assert re.search(r"^warn +OAuth client sandbox: .* under another id or secret", done.out, re.MULTILINE)


# Serving


HALF_A_REQUEST = b"\r\n".join(
    [
        b"POST /sign-in HTTP/1.1",
        b"Host: 127.0.0.1",
        b"Content-Type: application/x-www-form-urlencoded",
        b"Content-Length: 100",
        b"",
        b"code=",
    ]
)


@pytest.fixture
def terminal(tmp_path):
    return Terminal(tmp_path)


def address_in(out):
    return re.search(r"Address: +(\S+)", out)[1]


@pytest.fixture
def sign_in(terminal):
    """A browser that is signed in to the demonstration at an address."""
    with ExitStack() as stack:

        def sign_in_(url):
            code = terminal.run("login-code", "--demo").out.partition("#")[2].strip()
            browser = stack.enter_context(httpx.Client(base_url=url, trust_env=False))
            assert browser.post("/sign-in", data={"code": code}).status_code == 303
            return browser

        yield sign_in_


def connect_on_the_page(browser, platform="sandbox"):
    away = browser.get(f"/connect/{platform}", params={"user": "me"}).headers["location"]

    async def consent():
        async with httpx.AsyncClient(trust_env=False) as elsewhere:
            return await answer_consent(elsewhere, away)

    back = browser.get(anyio.run(consent))
    assert "connected=" in back.headers["location"], back.text
    return away


def until(true, seconds=40, log=str):
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, log()
        time.sleep(0.1)


def test_serve_says_at_start_where_it_is_and_what_it_does_when(terminal):
    terminal.variables |= {"SOULWATCH_ENVIRONMENT": "staging", "SOULWATCH_CORS_ORIGINS": "https://app.example"}
    terminal.variables |= {"SPOTIFY_CLIENT_ID": "id", "SPOTIFY_CLIENT_SECRET": "secret"}
    with terminal.running("serve", "--port", "0") as host:
        out = host.wait_for("To sign in")
        url = address_in(out)
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    assert "Environment:  staging\n" in out
    assert "CORS origins: https://app.example\n" in out
    assert f"WebSocket:    {url.replace('http', 'ws')}/ws\n" in out
    assert "Token refresh: every 5 minutes\n" in out
    assert "Spotify polling (recently_played): */30 * * * *\n" in out


def test_serve_on_a_terminal_shows_an_address_that_signs_in_once_and_logs_it_nowhere(terminal):
    terminal.variables["SOULWATCH_LOG_LEVEL"] = "DEBUG"
    with terminal.running("serve", "--port", "0", on_terminal=True) as host:
        out = host.wait_for("Stop with Ctrl+C")
        url, code = re.search(r"^ +(http\S+)/sign-in#(\S+)$", out, re.MULTILINE).groups()
        answers = [httpx.post(f"{url}/sign-in", data={"code": code}).status_code for _ in range(2)]
        host.end()
    assert answers == [303, 403]
    assert code not in host.log


def test_serve_into_a_file_shows_no_code(terminal):
    with terminal.running("serve", "--port", "0") as host:
        out = host.wait_for("To sign in")
        url = address_in(out)
        port = url.rpartition(":")[2]
        assert re.search(rf"To sign in, run: SOULWATCH_PORT={port} (\S*/)?soulwatch login-code\n", out)
        host.end()
    assert "#" not in host.out
    assert "sign-in" not in host.log


def test_serve_says_what_to_do_where_the_port_is_taken(terminal):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = terminal.run("serve", "--port", str(port))
    assert (done.code, done.out) == (1, "")
    assert f"Port {port} on 127.0.0.1 is in use" in done.err
    assert not (terminal.folder / ".local").exists()


def test_serve_says_in_one_message_that_the_key_is_another(terminal):
    terminal.run("apikeys", "create", "first")
    terminal.variables["ENCRYPTION_KEY"] = terminal.run("keygen").out.strip()
    done = terminal.run("serve", "--port", "0")
    assert (done.code, done.out) == (2, "")
    assert re.fullmatch(r"Error: ENCRYPTION_KEY is not the key .*\n", done.err)


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_in_order_and_soon(terminal, by):
    with terminal.running("serve", "--port", "0") as host:
        host.wait_for("To sign in")
        code, seconds = host.end(by)
    assert code == 0, host.log
    assert seconds < 3
    assert f"stopping ({by.name})" in host.log
    assert "Traceback" not in host.log


def test_serve_ends_soon_though_a_socket_is_open_and_a_request_is_not_yet_whole(terminal):
    terminal.variables["SOULWATCH_SHUTDOWN_GRACE"] = "2s"
    with terminal.running("serve", "--port", "0") as host:
        url = address_in(host.wait_for("To sign in"))
        key = terminal.run("apikeys", "create", "front end").out.strip()
        headers = {"Authorization": f"Bearer {key}"}
        ticket = httpx.post(f"{url}/api/ws-tickets", json={"user": "me"}, headers=headers).json()["ticket"]
        with (
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as slow,
            connect(f"{url.replace('http', 'ws')}/ws", subprotocols=["soulwatch.v1", f"ticket.{ticket}"]) as live,
        ):
            slow.sendall(HALF_A_REQUEST)
            assert json.loads(live.recv())["type"] == "ready"
            code, seconds = host.end()
            with pytest.raises(ConnectionClosed) as closed:
                live.recv()
    assert code == 0, host.log
    assert seconds < 4
    assert closed.value.rcvd.code == 1012
    assert "Traceback" not in host.log


def test_a_second_signal_waits_for_no_request(terminal):
    terminal.variables["SOULWATCH_SHUTDOWN_GRACE"] = "30s"
    with terminal.running("serve", "--port", "0") as host:
        url = address_in(host.wait_for("To sign in"))
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as slow:
            slow.sendall(HALF_A_REQUEST)
            time.sleep(0.5)
            host.process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert host.process.poll() is None
            code, seconds = host.end(signal.SIGINT)
    assert code == 0, host.log
    assert seconds < 3
    assert "Traceback" not in host.log


# The demonstration


@pytest.mark.slow
def test_the_demonstration_goes_on_after_it_was_killed_as_if_nothing_had_happened(terminal, sign_in):
    with terminal.running("serve", "--demo", "--port", "0") as first:
        out = first.wait_for("To sign in")
        assert "Environment:  demonstration\n" in out
        browser = sign_in(address_in(out))
        connect_on_the_page(browser)
        until(lambda: terminal.run("data", "--demo", "--user", "me").out)
        first.process.kill()
        first.process.wait()
    (before,) = map(json.loads, terminal.run("connections", "--demo", "--json").out.splitlines())
    with terminal.running("serve", "--demo", "--port", "0") as second:
        second.wait_for("To sign in")

        def state():
            return json.loads(terminal.run("connections", "--demo", "--json").out)

        until(lambda: state()["last_sync"] > before["last_sync"])
        # A token lives for a minute: it is a new one after half of that.
        until(lambda: state()["token_expires_at"] > before["token_expires_at"], seconds=80, log=lambda: second.log)
        assert (state()["status"], state()["reason"]) == ("connected", None)
        code, seconds = second.end()
    assert code == 0
    assert seconds < 10
    assert not terminal.run("connections").out


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["spotify", "github"])
def test_the_demonstration_poses_as_platforms_that_have_no_client(terminal, sign_in, platform):
    with terminal.running("serve", "--demo", "--port", "0") as host:
        browser = sign_in(address_in(host.wait_for("To sign in")))
        away = connect_on_the_page(browser, platform)
        assert re.match(rf"http://127\.0\.0\.1:\d+/{platform}/", away)
        until(lambda: terminal.run("data", "--demo", "--platform", platform).out)
        assert host.end()[0] == 0


@pytest.mark.fault("F27", how="real")
@pytest.mark.slow
def test_no_secret_is_in_anything_that_is_logged_at_debug(terminal, sign_in):
    terminal.variables["SOULWATCH_LOG_LEVEL"] = "DEBUG"
    with terminal.running("serve", "--demo", "--port", "0") as host:
        url = address_in(host.wait_for("To sign in"))
        browser = sign_in(url)
        connect_on_the_page(browser)
        key = terminal.run("apikeys", "create", "front end", "--demo").out.strip()
        headers = {"Authorization": f"Bearer {key}"}
        ticket = httpx.post(f"{url}/api/ws-tickets", json={"user": "me"}, headers=headers).json()["ticket"]
        with connect(f"{url.replace('http', 'ws')}/ws", subprotocols=["soulwatch.v1", f"ticket.{ticket}"]) as live:
            live.recv()
        httpx.post(f"{url}/api/users/me/token", json={"platform": "sandbox"}, headers=headers)
        until(lambda: terminal.run("data", "--demo", "--user", "me").out)
        host.end()
    with sqlite3.connect(next(terminal.folder.rglob("sandbox.db"))) as database:
        issued = [row[0] for row in database.execute("select value from tokens union select code from codes")]
    database.close()
    cookies = [cookie.value for cookie in browser.cookies.jar]
    secrets = [*issued, *cookies, key, ticket, "sandbox-demo-secret-invented"]
    assert len(issued) >= 3
    assert "polled sandbox notes" in host.log
    for secret in secrets:
        assert secret not in host.log + host.out
