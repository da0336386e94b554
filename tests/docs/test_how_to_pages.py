"""The programs of the how-to pages, run as they stand there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import types
from pathlib import Path

import httpx
import pytest

from soulwatch.host.keys import generate_key
from soulwatch.host.settings import load_settings
from soulwatch_sandbox import answer_consent

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
OWN = "https://app.example.com"


def files(page: str) -> dict[str, str]:
    return dict(re.findall(r"(?s)\*\*`([\w.]+)`\*\*\n\n```\w+\n(.*?)```", (PAGES / page).read_text("utf-8")))


def module(page: str, name: str) -> types.ModuleType:
    made = types.ModuleType(name.removesuffix(".py"))
    exec(compile(files(page)[name], f"{page} {name}", "exec"), vars(made))
    return made


@pytest.fixture
def own_settings(tmp_path, monkeypatch):
    """A folder of its own, and no setting of this machine."""
    for name in [name for name in os.environ if name.startswith("SOULWATCH")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOULWATCH_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def application(served, monkeypatch):
    """The environment of an application that asks the host."""
    monkeypatch.setenv("SOULWATCH", served.url)
    monkeypatch.setenv("SOULWATCH_KEY", served.key)
    monkeypatch.setenv("OWN_URL", OWN)


def browser(app, **cookies):
    transport = httpx.ASGITransport(app)
    return httpx.AsyncClient(transport=transport, base_url=OWN, cookies=cookies)


async def test_mounted_in_starlette_the_host_lives_and_the_application_asks_it(own_settings, monkeypatch):
    monkeypatch.setenv("SOULWATCH_PUBLIC_URL", "http://127.0.0.1:8000/soulwatch")
    made = module("mount-in-your-app.md", "application.py")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(made.app), base_url="http://127.0.0.1:8000") as http:
        early = await http.get("/soulwatch/readyz")
        assert (early.status_code, "lifespan" in early.json()["detail"]) == (503, True)
        async with made.app.router.lifespan_context(made.app):
            assert (await http.get("/soulwatch/readyz")).json() == {"status": "ok"}
            assert (await http.get("/soulwatch/")).headers["location"].endswith("/soulwatch/sign-in")
            assert '"/soulwatch/static/' in (await http.get("/soulwatch/sign-in")).text
            assert (await http.get("/accounts/ada")).json() == []


def test_settings_of_its_own_go_into_the_application(own_settings):
    page = (PAGES / "mount-in-your-app.md").read_text("utf-8")
    (block,) = [block for block in re.findall(r"(?s)```python\n(.*?)```", page) if "load_settings(overrides=" in block]
    made = {}
    exec(compile(block, "mount-in-your-app.md", "exec"), made)
    assert made["load_settings"](overrides={"lease": "90s"}).lease.total_seconds() == 90
    assert made["soulwatch"].routes


def test_the_settings_of_the_service_are_understood(own_settings):
    page = (PAGES / "run-as-a-service.md").read_text("utf-8")
    first, more = re.findall(r"(?s)```toml\n(.*?)```", page)
    (own_settings / "soulwatch.toml").write_text(more + first)
    (own_settings / "encryption.key").write_text(generate_key())
    (own_settings / "spotify.secret").write_text("invented")
    settings = load_settings(cwd=own_settings, overrides={"data_dir": str(own_settings)})
    assert settings.client("spotify").secret.get_secret_value() == "invented"
    assert len(settings.encryption_key) == 1


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd examines the unit of the page")
def test_the_unit_of_the_service_is_one(tmp_path):
    page = (PAGES / "run-as-a-service.md").read_text("utf-8")
    (unit,) = re.findall(r"(?s)```ini\n(.*?)```", page)
    there = tmp_path / "soulwatch.service"
    there.write_text(unit.replace("/opt/soulwatch/bin/soulwatch", sys.executable))
    done = subprocess.run(["systemd-analyze", "verify", str(there)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_backup_that_is_there_already_is_refused_in_one_line(tmp_path):
    page = (PAGES / "back-up-and-restore.md").read_text("utf-8")
    (command,) = [block for block in re.findall(r"(?s)```sh\n(.*?)```", page) if "VACUUM INTO" in block]
    sqlite3.connect(tmp_path / "soulwatch.db").close()
    (tmp_path / "backups").mkdir()
    names = {"PYTHON": sys.executable, "DATA": str(tmp_path), "BACKUPS": str(tmp_path / "backups")}
    first, again = (
        subprocess.run(["sh", "-eu", "-c", command], env=names, capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert (first.returncode, first.stderr) == (0, "")
    assert (again.returncode, again.stderr) == (
        1,
        f"{tmp_path}/backups/soulwatch.db was not made: output file already exists\n",
    )


async def test_a_program_without_a_web_side_opens_the_host(served, tmp_path):
    script = tmp_path / "report.py"
    script.write_text(files("mount-in-your-app.md")["report.py"])
    data = str(served.host.settings.data_dir)
    run = await asyncio.create_subprocess_exec(
        sys.executable, str(script), cwd=tmp_path, stdout=asyncio.subprocess.PIPE, env={"SOULWATCH_DATA_DIR": data}
    )
    said, _ = await run.communicate()
    assert "ada sandbox connected" in said.decode().splitlines()


async def consent(url):
    """Where a person comes out who follows the link and consents."""
    async with httpx.AsyncClient() as person:
        there = (await person.get(url)).headers["location"]
        back = await answer_consent(person, there, person="oskar")
        return (await person.get(back)).headers["location"]


async def test_a_user_of_the_application_connects_an_account(served, application):
    app = module("connect-your-users.md", "application.py").app
    async with browser(app, user="carla") as carla:
        away = await carla.post("/connect/sandbox")
        back = await consent(away.headers["location"])
        assert back.startswith(f"{OWN}/connected?")
        assert not await served.host.accounts.rows(user="carla")
        assert (await carla.get(back)).text.startswith("Sandbox is connected as ")
    (row,) = await served.host.accounts.rows(user="carla")
    assert (row.platform, row.status) == ("sandbox", "connected")


async def test_whoever_followed_a_foreign_link_connects_nothing(served, application):
    app = module("connect-your-users.md", "application.py").app
    async with browser(app, user="mallory") as mallory:
        link = (await mallory.post("/connect/sandbox")).headers["location"]
    back = await consent(link)
    async with browser(app, user="dora") as dora:
        assert (await dora.get(back)).status_code == 403
    assert not await served.host.accounts.rows(user="mallory")
    assert not await served.host.accounts.rows(user="dora")


async def test_the_ticket_of_the_applications_route_opens_a_socket_once(served, application):
    app = module("live-in-the-browser.md", "tickets.py").app
    async with browser(app, user="ada") as ada:
        ticket = (await ada.post("/live-ticket")).json()["ticket"]
    assert (await served.host.access.take_ticket(ticket)).user == "ada"
    async with browser(app) as nobody:
        assert (await nobody.post("/live-ticket")).status_code == 401


PLAY = """
import { listen } from "./live.mjs";
const key = { Authorization: `Bearer ${process.env.KEY}` };
globalThis.fetch = ((real) => () =>
  real(`${process.env.SOULWATCH}/api/ws-tickets`, { method: "POST", headers: key, body: '{"user": "ada"}' }))(fetch);
const sockets = [];
globalThis.WebSocket = class extends WebSocket {
  constructor(...all) {
    super(...all);
    sockets.push(this);
    this.addEventListener("message", (message) => {
      if (JSON.parse(message.data).type === "ready" && sockets.length === 1) console.log("open");
    });
  }
};
listen(process.env.SOULWATCH.replace("http", "ws") + "/ws", (event) => {
  console.log(event.type);
  if (event.type === "first") sockets.at(-1).close();
}, () => console.log("reload"));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="the script of the page is run by node")
async def test_the_front_ends_script_hears_events_also_those_it_missed(served, tmp_path):
    (tmp_path / "live.mjs").write_text(files("live-in-the-browser.md")["live.js"])
    (tmp_path / "play.mjs").write_text(PLAY)
    env = {"PATH": os.environ["PATH"], "SOULWATCH": served.url, "KEY": served.key}
    node = await asyncio.create_subprocess_exec(
        *("node", "--experimental-websocket", "--no-warnings", "play.mjs"),
        cwd=tmp_path,
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(20):
            assert await node.stdout.readline() == b"open\n"
            await served.host.send_to_user("ada", {"type": "first"})
            assert await node.stdout.readline() == b"first\n"
            await served.host.send_to_user("ada", {"type": "missed"})
            assert await node.stdout.readline() == b"missed\n"
    finally:
        node.kill()
        await node.wait()
