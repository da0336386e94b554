"""The host as a part of somebody else's application."""

import json
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from support.listening import said_to
from support.served import PROTOCOL, free_port, on_sqlite, running, until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from soulwatch.host.app import create_app
from soulwatch_sandbox import answer_consent


async def greet(request):
    return PlainTextResponse("the outer application")


@asynccontextmanager
async def mounted(world, *, is_started=True, **options):
    """An application of somebody else's on a real socket, with ours under /watch; gives its address and ours."""
    listener = free_port()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    settings = world.settings(port=listener.getsockname()[1], public_url=f"{url}/watch")
    world.sandbox.register(
        "sandbox", "invented-sandbox-client", "invented-sandbox-secret", [f"{url}/watch/connect/sandbox/callback"]
    )
    ours = create_app(settings, **options)

    @asynccontextmanager
    async def lifespan(app):
        async with AsyncExitStack() as stack:
            if is_started:
                await stack.enter_async_context(ours.router.lifespan_context(ours))
            yield

    outer = Starlette(routes=[Route("/", greet), Mount("/watch", app=ours)], lifespan=lifespan)
    async with outer.router.lifespan_context(outer), running(outer, listener):
        yield url, ours


async def test_a_person_connects_where_the_host_is_mounted(world):
    async with mounted(world, worker=False) as (url, ours), httpx.AsyncClient(base_url=url, trust_env=False) as browser:
        host = ours.state.host
        assert (await browser.get("/")).text == "the outer application"
        assert (await browser.get("/watch/")).headers["location"] == "/watch/sign-in"
        signed_in = await browser.post("/watch/sign-in", data={"code": await host.access.login_code()})
        assert signed_in.headers["location"] == f"{url}/watch/"

        away = await browser.get("/watch/connect/sandbox?user=ada")
        async with httpx.AsyncClient(trust_env=False) as elsewhere:
            back = await answer_consent(elsewhere, away.headers["location"])
        arrived = await browser.get(back)

        (row,) = await host.accounts.rows(user="ada")
        assert arrived.headers["location"] == f"{url}/watch/?user=ada&connected={row.id}"
        page = await browser.get(arrived.headers["location"])
        assert '"/watch/static/page.js"' in page.text
        assert (await browser.get("/watch/static/page.js")).status_code == 200


@on_sqlite
async def test_its_socket_and_api_are_below_the_mount(world):
    async with mounted(world, worker=False) as (url, ours), httpx.AsyncClient(base_url=url, trust_env=False) as app:
        _, key = await ours.state.host.access.new_key("outer")
        app.headers["Authorization"] = f"Bearer {key}"
        ticket = (await app.post("/watch/api/ws-tickets", json={"user": "ada"})).json()["ticket"]
        address = f"ws{url.removeprefix('http')}/watch/ws"
        async with connect(address, subprotocols=[PROTOCOL, f"ticket.{ticket}"], proxy=None) as opened:
            assert (await said_to(opened))["type"] == "ready"
            await ours.state.host.send_to_user("ada", {"type": "hello"})
            assert (await said_to(opened))["type"] == "hello"
        refused = await app.get("/watch/api/connections/nowhere")
        assert (refused.status_code, refused.json()["status"]) == (404, 404)
        assert (await app.get("/api/connections")).status_code == 404
        assert (await app.get("/watch/healthz")).json() == {"status": "ok"}


async def test_the_lifespan_does_the_background_work_and_ends_it(world):
    async with mounted(world) as (_, ours):
        host = ours.state.host
        await world.connect(host)
        await until(lambda: world.sandbox.requests.of("sandbox", "/v1/notes"))
    assert ours.state.host is None
    assert host.worker._has_stopped.is_set()


@on_sqlite
async def test_without_its_lifespan_it_says_what_is_missing(world):
    async with (
        mounted(world, is_started=False) as (url, _),
        httpx.AsyncClient(base_url=f"{url}/watch", trust_env=False) as visitor,
    ):
        for method, path in (
            ("GET", "/"),
            ("GET", "/sign-in"),
            ("POST", "/sign-in"),
            ("GET", "/connect/sandbox"),
            ("GET", "/connect/sandbox/callback"),
            ("GET", "/api/connections"),
            ("POST", "/api/ws-tickets"),
            ("GET", "/healthz"),
            ("GET", "/readyz"),
        ):
            refused = await visitor.request(method, path)
            assert refused.status_code == 503, path
            assert refused.headers["content-type"] == "application/problem+json"
            assert "lifespan_context" in refused.json()["detail"]
        with pytest.raises(InvalidStatus) as refused_socket:
            await connect(f"ws{url.removeprefix('http')}/watch/ws", proxy=None)
        assert refused_socket.value.response.status_code == 503
        assert "lifespan_context" in json.loads(refused_socket.value.response.body)["detail"]


@on_sqlite
async def test_a_host_that_was_open_already_is_used_and_stays_open(world):
    async with world.host() as host:
        ours = create_app(host=host, worker=False)
        async with ours.router.lifespan_context(ours):
            assert ours.state.host is host
        assert await host.accounts.rows() == []
