import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from soulwatch_sandbox import Sandbox, answer_consent, running, running_in_thread

from .conftest import CALLBACK, VERIFIER, client, oauth, signed


async def test_it_comes_back_at_the_same_address(sandbox: Sandbox):
    async with running(sandbox) as url:
        port = httpx.URL(url).port
    async with running(sandbox, port=port) as again, httpx.AsyncClient() as http:
        assert again == url
        assert (await http.get(again)).status_code == 200


async def test_it_stops_at_once_whatever_hangs(sandbox: Sandbox):
    sandbox.faults.add("hang", seconds=60)
    async with httpx.AsyncClient() as http:
        async with running(sandbox) as url:
            hanging = asyncio.create_task(http.get(f"{url}/sandbox/v1/me"))
            while not len(sandbox.requests):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            began = time.monotonic()
        assert time.monotonic() - began < 0.5
        with pytest.raises(httpx.HTTPError):
            await hanging


async def test_signals_are_left_alone(sandbox: Sandbox):
    before = signal.getsignal(signal.SIGTERM)
    async with running(sandbox):
        assert signal.getsignal(signal.SIGTERM) is before


def test_it_runs_beside_a_test_without_an_event_loop(sandbox: Sandbox):
    access = sandbox.grant("sandbox", "mira").access
    with running_in_thread(sandbox) as url:
        assert httpx.get(f"{url}/sandbox/v1/me", headers=signed(access)).json()["id"] == "mira"
        sandbox.expire("mira")
        assert httpx.get(f"{url}/sandbox/v1/me", headers=signed(access)).status_code == 401


def test_a_taken_port_is_told(sandbox: Sandbox):
    with (
        running_in_thread(sandbox) as url,
        pytest.raises(RuntimeError, match="did not start"),
        running_in_thread(sandbox, port=httpx.URL(url).port),
    ):
        pass


async def test_answers_do_not_wait_for_an_acknowledgement(sandbox: Sandbox):
    """Headers and body go out as two writes: Nagle's algorithm would hold the second for 40 ms."""
    access = sandbox.grant("sandbox", "mira").access
    async with running(sandbox) as url, httpx.AsyncClient(base_url=url, headers=signed(access)) as http:
        await http.get("/sandbox/v1/me")
        took = []
        for _ in range(20):
            began = time.monotonic()
            await http.get("/sandbox/v1/me")
            took.append(time.monotonic() - began)
    assert min(took) < 0.03


@contextmanager
def program(state: Path):
    """The sandbox as a process of its own; gives it and its address."""
    command = [sys.executable, "-m", "soulwatch_sandbox", "--port", "0", "--state", str(state)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process, process.stdout.readline().removeprefix("sandbox ready at ").strip()
        process.kill()


def test_the_program_says_where_it_is_and_ends_in_order(tmp_path):
    with program(tmp_path / "state.db") as (process, url):
        assert httpx.get(url).text.startswith("This is the soulwatch sandbox")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert "invented-github-client" in process.stdout.read()


async def test_what_was_answered_outlives_a_kill(tmp_path):
    state = tmp_path / "state.db"
    with program(state) as (process, url):
        async with httpx.AsyncClient() as http:
            asked = oauth(url).authorization_url(client(), CALLBACK.format("sandbox"), "a-state", VERIFIER)
            back = httpx.URL(await answer_consent(http, asked)).params
            token = await oauth(url).exchange(client(), back["code"], CALLBACK.format("sandbox"), VERIFIER, http)
            newer = await oauth(url).refresh(token, client(), http)
            process.kill()

    with program(state) as (_, url):
        async with httpx.AsyncClient(headers=signed(newer.access)) as http:
            assert (await http.get(f"{url}/sandbox/v1/me")).status_code == 200
