from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import httpx
import pytest
from starlette.routing import Mount, Route, WebSocketRoute

from soulwatch.host.app import create_app
from soulwatch_sandbox import answer_consent

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "http-api.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"(?ms)^### `(.+?)`\n(.*?)(?=^##|\Z)", PAGE))
BY_CURL = {title: text for title, text in SECTIONS.items() if "\ncurl " in text}


def routes(found, before=""):
    """Method and path of each route, as headings have them."""
    for route in found:
        path = before + re.sub(r"{(\w+):\w+}", r"{\1}", route.path)
        if isinstance(route, WebSocketRoute):
            yield f"WebSocket {path}"
        elif isinstance(route, Route):
            yield from (f"{method} {path}" for method in route.methods - {"HEAD"})
        elif isinstance(route, Mount) and route.routes:
            yield from routes(route.routes, path)
        else:
            yield f"GET {path}/{{path}}"


def test_each_route_has_a_heading_and_nothing_else_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sorted(SECTIONS) == sorted(routes(create_app().routes))


@pytest.mark.parametrize("title", [title for title in SECTIONS if not title.startswith("WebSocket")])
def test_it_says_who_may_and_what_is_answered_and_shows_an_example(title):
    lines = re.findall(r"(?m)^- \*\*(\w+)\*\*: ", SECTIONS[title])
    assert lines[0] == "Who"
    assert "Answers" in lines
    assert title in BY_CURL


def same_shape(told, answered, at="the answer"):
    """An example stands for every answer with the same fields; a list for any that has an entry like its first."""
    if isinstance(told, dict) and isinstance(answered, dict):
        assert sorted(told) == sorted(answered), at
        for name in told:
            same_shape(told[name], answered[name], f"{at}.{name}")
    elif isinstance(told, list) and told and isinstance(answered, list) and answered:
        same_shape(told[0], answered[0], f"{at}[0]")
    elif told is not None and answered is not None:
        assert isinstance(answered, type(told)), at


@pytest.fixture
async def variables(served, tmp_path):
    """What the page's examples need, and a curl that says no more than asked and the status besides."""
    (tmp_path / ".curlrc").write_text('silent\nwrite-out = "\\n-- %{http_code}"\n')
    told = {"SOULWATCH": served.url, "KEY": served.key, "CONNECTION": served.connection.id}
    return {"PATH": os.environ["PATH"], "CURL_HOME": str(tmp_path), **told}


async def run(section, variables):
    """Run the example of a section; the status and the text of its answer."""
    (block,) = re.findall(r"(?s)```sh\n(curl .*?)```", section)
    curl = await asyncio.create_subprocess_exec("bash", "-c", block, stdout=asyncio.subprocess.PIPE, env=variables)
    said, _ = await asyncio.wait_for(curl.communicate(), 30)
    text, _, status = said.decode().rpartition("-- ")
    return int(status), text


async def session_and_code(served):
    """A connect session as it is when its user has come back."""
    asked = {"user": "ada", "platform": "sandbox", "return_to": "https://app.example.com/connected"}
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {served.key}"}) as application:
        made = (await application.post(f"{served.url}/api/connect-sessions", json=asked)).json()
    async with httpx.AsyncClient() as browser:
        there = (await browser.get(made["url"])).headers["location"]
        back = await answer_consent(browser, there, person="oskar")
        came = httpx.URL((await browser.get(back)).headers["location"])
    return {"SESSION": came.params["session"], "CODE": came.params["code"]}


EXPECTED = {
    "DELETE /api/connections/{id}": 200,
    "GET /": 303,
    "POST /api/connect-sessions": 201,
    "POST /api/connect-sessions/{id}/activate": 201,
    "POST /api/users/{user}/message": 201,
    "POST /api/ws-tickets": 201,
    "POST /sign-in": 403,
    "POST /sign-out": 401,
    "GET /connect/{platform}": 400,
    "GET /connect/{platform}/callback": 400,
}
"""The status of each example that is not 200: codes and links on the page were made up."""


@pytest.mark.skipif(not shutil.which("curl"), reason="the examples need curl")
@pytest.mark.parametrize("title", BY_CURL)
async def test_its_example_is_answered_as_the_page_says(title, served, variables):
    if "$SESSION" in SECTIONS[title]:
        variables |= await session_and_code(served)
    if title.startswith("DELETE"):
        variables |= {"CONNECTION": (await served.connect("bert", "oskar")).id}
    status, text = await run(SECTIONS[title], variables)
    assert status == EXPECTED.get(title, 200), text
    for told in re.findall(r"(?s)```json\n(.*?)```", SECTIONS[title]):
        same_shape(json.loads(told), json.loads(text))
