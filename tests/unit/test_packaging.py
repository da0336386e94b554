"""Three ways of installing a plugin, each into an environment of its own, and a core without its host."""

import json
import os
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from textwrap import dedent
from threading import Thread
from typing import ClassVar
from urllib.parse import parse_qsl, urlsplit

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CONNECTOR = """
    from soulwatch import Connector, Endpoint, Identity, OAuth2, Platform

    HERE = "https://mastodon.example"

    mastodon = Connector(
        platform=Platform(
            name="mastodon",
            title="Mastodon",
            oauth=OAuth2(authorize_url=f"{HERE}/oauth/authorize", token_url=f"{HERE}/oauth/token", scopes=("read",)),
            hosts=("mastodon.example",),
            identity=Identity(f"{HERE}/api/v1/accounts/verify_credentials", name=("acct",)),
        ),
        endpoints=(Endpoint("favourites", f"{HERE}/api/v1/favourites", items="", schedule="*/15 * * * *"),),
    )
    """
RAISES = "raise RuntimeError('no such luck')"
MISSPELT = """
    from soulwatch import hookimpl

    @hookimpl
    def on_evnet(event): ...
    """
PYPROJECT = """
    [build-system]
    requires = ["hatchling"]
    build-backend = "hatchling.build"

    [project]
    name = "soulwatch-{distribution}"
    version = "0.1"
    requires-python = ">=3.11"
    dependencies = ["soulwatch"]

    [project.entry-points.soulwatch]
    {entry} = "soulwatch_{distribution}{attribute}"
    """

CONNECT_AND_POLL = """
    import sys

    import anyio
    import httpx

    from soulwatch.host.connecting import Callback
    from soulwatch.host.host import Host
    from soulwatch.host.settings import load_settings


    async def main(url):
        given = {
            "platforms": {"mastodon": {"api_url": url, "oauth_url": url}},
            "clients": {"mastodon": {"id": "us", "secret": "invented"}},
        }
        host = await Host.open(load_settings(overrides=given))
        asked = httpx.get(await host.connecting.start("ada", "mastodon", "browser"))
        back = asked.next_request.url.params
        await host.connecting.finish(Callback("mastodon", back["state"], back["code"], None, None, "browser"))
        for outcome in await host.poll_all_platforms_for_user("ada"):
            print(outcome.data_type, outcome.new, outcome.problem)
        await host.close()


    anyio.run(main, sys.argv[1])
    """


class Mastodon(BaseHTTPRequestHandler):
    """As much of a platform as it takes to connect to it and poll it once."""

    answers: ClassVar[dict[str, object]] = {
        "/oauth/token": {"access_token": "mira", "token_type": "Bearer", "scope": "read"},
        "/api/v1/accounts/verify_credentials": {"id": "7", "acct": "mira"},
        "/api/v1/favourites": [{"id": "1"}, {"id": "2"}],
    }

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        if asked.path == "/oauth/authorize":
            query = dict(parse_qsl(asked.query))
            self.send_response(302)
            self.send_header("Location", f"{query['redirect_uri']}?code=once&state={query['state']}")
            self.end_headers()
        elif self.headers["Authorization"] == "Bearer mira":
            self.answer(self.answers[asked.path])
        else:
            self.send_error(401)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(self.answers[self.path])

    def answer(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *what: object) -> None:
        """Say nothing: pytest shows what matters."""


class Environment:
    """A virtual environment of its own; made by uv where there is one, else by venv and pip."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.uv = os.environ.get("UV") or shutil.which("uv")
        make = [self.uv, "venv", "--python", sys.executable] if self.uv else [sys.executable, "-m", "venv"]
        run(*make, home)

    def install(self, *what: object) -> None:
        installer = [self.uv] if self.uv else [self.python, "-m"]
        run(*installer, "pip", "install", *(["--python", self.python] if self.uv else []), *what)

    def build(self, kind: str, folder: Path, out: Path) -> Path:
        """Build a wheel or an sdist as people do, with uv or with the build frontend, and give the file."""
        if self.uv:
            run(self.uv, "build", f"--{kind}", "--out-dir", out, folder)
        else:
            self.install("build")
            self.run("python", "-m", "build", f"--{kind}", "--outdir", out, folder)
        [made] = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
        return made

    def run(self, *command: object, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command of the environment, away from the checkout."""
        return run(self.python.parent / str(command[0]), *command[1:], cwd=self.home, expect=expect)

    def plugins(self) -> dict[str, str | None]:
        """Give each installed plugin by name: None, or the reason why it is not in use."""
        found = json.loads(self.run("soulwatch", "plugins", "--json").stdout)
        return {one["name"]: None for one in found["plugins"]} | {
            one["plugin"]: one["why"] for one in found["problems"]
        }


def run(*command: object, cwd: Path = ROOT, expect: int = 0) -> subprocess.CompletedProcess[str]:
    # Neither pytest's own environment nor an operator's settings should reach in.
    inherited = ("SOULWATCH_", "UV_PYTHON", "UV_PROJECT", "VIRTUAL_ENV", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if not name.startswith(inherited)}
    env |= {"SOULWATCH_DATA_DIR": str(cwd / "data")} if cwd != ROOT else {}
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == expect, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done


def strangers_plugin(folder: Path, distribution: str, source: str, attribute: str = "", entry: str = "") -> Path:
    """Write a plugin as somebody else would, in a folder of its own."""
    folder /= f"soulwatch-{distribution}"
    folder.mkdir()
    described = PYPROJECT.format(distribution=distribution, attribute=attribute, entry=entry or distribution)
    (folder / "pyproject.toml").write_text(dedent(described))
    (folder / f"soulwatch_{distribution}.py").write_text(dedent(source))
    return folder


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path / "environment")


@pytest.fixture
def mastodon(tmp_path):
    return strangers_plugin(tmp_path, "mastodon", CONNECTOR, ":mastodon")


@pytest.fixture
def platform_url():
    """The address of the platform that the stranger's plugin is for."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Mastodon) as server:
        serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_a_plugin_installs_from_its_folder_together_with_the_core(environment):
    environment.install(f"{ROOT}[host]", ROOT / "plugins/spotify")

    assert environment.plugins() == {"spotify": None}


def test_a_plugin_installs_from_a_wheel(environment, tmp_path):
    wheel = environment.build("wheel", ROOT / "plugins/spotify", tmp_path / "wheels")
    assert wheel.name.endswith("-py3-none-any.whl")

    environment.install(f"{ROOT}[host]", wheel)

    assert environment.plugins() == {"spotify": None}


def test_a_strangers_plugin_installs_and_is_found_and_polled(environment, mastodon, platform_url):
    environment.install(f"{ROOT}[host]", mastodon)

    assert environment.plugins() == {"mastodon": None}
    said = environment.run("python", "-c", dedent(CONNECT_AND_POLL), platform_url).stdout
    assert said == "favourites 2 None\n"


def test_a_strangers_plugin_can_be_written_and_tested_without_the_host(environment, mastodon):
    environment.install(ROOT, mastodon)

    ask = "from soulwatch_mastodon import mastodon; print(mastodon.platform().title, len(mastodon.endpoints))"
    assert environment.run("python", "-c", ask).stdout == "Mastodon 1\n"


def test_plugins_that_fail_are_listed_with_the_reason_and_the_rest_goes_on(environment, tmp_path):
    environment.install(
        f"{ROOT}[host]",
        ROOT / "plugins/spotify",
        ROOT / "plugins/github",
        strangers_plugin(tmp_path, "unlucky", RAISES),
        strangers_plugin(tmp_path, "misspelt", MISSPELT),
        strangers_plugin(tmp_path, "imposter", CONNECTOR, ":mastodon", entry="spotify"),
    )

    found = environment.plugins()

    assert [name for name, why in found.items() if why is None] == ["github"]
    assert "no such luck" in found["unlucky"]
    assert "on_evnet" in found["misspelt"]
    assert "soulwatch-imposter and soulwatch-spotify both claim this name" in found["spotify"]


def test_the_core_without_its_host_says_how_to_get_it(environment):
    environment.install(ROOT)

    assert 'pip install "soulwatch[host]"' in environment.run("soulwatch", "plugins", expect=1).stderr


def test_the_sdist_of_the_core_holds_what_is_needed_and_nothing_else(environment, tmp_path):
    sdist = environment.build("sdist", ROOT, tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked")
    [top] = (tmp_path / "unpacked").iterdir()

    wanted = {"LICENSE", "README.md", "core", "pyproject.toml"}
    assert {path.name for path in top.iterdir()} - {".gitignore", "PKG-INFO"} == wanted
