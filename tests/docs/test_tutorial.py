"""The tutorial's own files, run as they stand on the page: server, connector, its test, plugin and settings."""

from __future__ import annotations

import importlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import uvicorn

from soulwatch.host.connecting import Callback
from soulwatch.host.host import Host
from soulwatch.host.settings import load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial" / "first-connector.md").read_text("utf-8")
FILES = dict(re.findall(r"(?s)\*\*`([\w.]+)`\*\*\n\n```\w+\n(.*?)```", PAGE))
PORT = "127.0.0.1:4000"


@pytest.fixture
def door():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free


@pytest.fixture
def folder(tmp_path, monkeypatch, door):
    """A folder with all files of the page, and what `pip install -e .` makes of its pyproject.toml."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace(PORT, f"127.0.0.1:{door.getsockname()[1]}"), "utf-8")
    project = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = [f"{name} = {where}" for name, where in project["entry-points"]["soulwatch"].items()]
    (info / "entry_points.txt").write_text("\n".join(["[soulwatch]", *points]))
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for module in ("soulwatch_bookmarks", "bookmarks_server"):
        sys.modules.pop(module, None)


@pytest.fixture
def server(folder, door):
    app = importlib.import_module("bookmarks_server").app
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off", ws="none"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [door]})
    thread.start()
    while not running.started:
        time.sleep(0.005)
    yield
    running.should_exit = True
    thread.join()


def run(folder, *command):
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(folder)}
    env["SOULWATCH_PLUGINS__ALLOW"] = "bookmarks"
    done = subprocess.run([sys.executable, *command], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def connect(host):
    """To the platform and back, as a browser goes."""
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(await host.connecting.start("ada", "bookmarks", "a browser"))
    back = dict(parse_qsl(urlsplit(answer.headers["location"]).query))
    came = Callback("bookmarks", back["state"], back["code"], None, None, "a browser")
    return (await host.connecting.finish(came)).connection


async def test_the_connector_is_found_connected_polled_and_its_token_renewed(folder, server):
    settings = load_settings(env={"HOME": str(folder)}, cwd=folder, overrides={"plugins.allow": ["bookmarks"]})
    host = await Host.open(settings)
    try:
        connection = await connect(host)
        assert connection.account.name == "Ada"
        (first,) = await host.poll_all_platforms_for_user("ada")
        assert first.problem is None
        assert first.new in (24, 25)  # the oldest goes when a new one comes between two pages
        (second,) = await host.poll_all_platforms_for_user("ada")
        assert second.problem is None
        assert second.new < 5  # whatever was added meanwhile
        before = await host.ensure_fresh_token("ada", "bookmarks")
        assert (await host.refresh_connection(connection.id))[0].access != before.access
        assert len(await host.data(user="ada", platform="bookmarks", data_type="bookmarks")) == first.new + second.new
    finally:
        await host.close()


def test_its_own_tests_pass(folder):
    assert "2 passed" in run(folder, "-m", "pytest", "-p", "no:cacheprovider", "test_bookmarks.py")


def test_soulwatch_lists_it_as_the_page_says(folder):
    expected = re.search(r"(?s)```sh\nsoulwatch plugins\n```\n\n```text\n(.*?)```", PAGE)
    assert expected
    assert expected[1] in run(folder, "-c", "from soulwatch.cli import main; main(['plugins'])")
