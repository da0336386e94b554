"""Connecting as a person in a browser does it, over real HTTP."""

import hashlib
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest
from sqlalchemy import select
from support.served import on_sqlite

from soulwatch.host.store.tables import flows


def query_of(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query, keep_blank_values=True)


async def connections_of(served, user="ada"):
    return await served.host.accounts.rows(user=user)


async def test_a_person_signs_in_connects_and_comes_back_to_a_clean_address(served):
    browser = await served.visitor()
    assert (await browser.get("/")).headers["location"] == "/sign-in"
    signed_in = await browser.post("/sign-in", data={"code": await served.host.access.login_code()})
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, f"{served.url}/")

    back = await served.consented(browser, "/connect/sandbox?user=ada")
    arrived = await browser.get(back)

    (row,) = await connections_of(served)
    assert (row.account_name, row.status) == ("Mira Vantongeren", "connected")
    assert (arrived.status_code, arrived.headers["location"]) == (303, f"{served.url}/?user=ada&connected={row.id}")
    assert arrived.headers["referrer-policy"] == "no-referrer"
    assert arrived.headers["cache-control"] == "no-store"
    assert "Sandbox is connected as Mira Vantongeren" in (await browser.get(arrived.headers["location"])).text


@pytest.mark.parametrize("platform", ["spotify", "github"])
async def test_a_platform_that_names_no_issuer_is_connected_by_state_and_proof_key_alone(served, platform):
    browser = await served.operator()
    back = await served.consented(browser, f"/connect/{platform}?user=ada")

    assert "iss" not in query_of(back)
    assert (await browser.get(back)).status_code == 303
    assert [row.platform for row in await connections_of(served)] == [platform]


@on_sqlite
async def test_each_flow_has_a_state_and_a_proof_key_of_its_own(served):
    browser = await served.operator()
    first, second = [query_of((await browser.get("/connect/sandbox")).headers["location"]) for _ in range(2)]

    for name in ("state", "code_challenge"):
        assert len(first[name][0]) == 43
        assert first[name] != second[name]
    assert first["code_challenge_method"] == ["S256"]
    assert first["redirect_uri"] == [f"{served.url}/connect/sandbox/callback"]


@on_sqlite
async def test_the_cookie_that_binds_a_flow_is_for_this_host_alone_and_short_lived(serve, served):
    plain = (await (await served.operator()).get("/connect/sandbox")).headers["set-cookie"]
    assert plain.startswith("soulwatch-connect-")
    assert "__Host-" not in plain
    async with serve(public_url="https://soulwatch.example") as secure:
        browser = await secure.visitor(headers={"Host": "soulwatch.example"})
        signed_in = await browser.post("/sign-in", data={"code": await secure.host.access.login_code()})
        # A client over plain HTTP does not send a Secure cookie by itself.
        browser.headers["Cookie"] = signed_in.headers["set-cookie"].partition(";")[0]
        guarded = (await browser.get("/connect/sandbox")).headers["set-cookie"]
    assert guarded.startswith("__Host-soulwatch-connect=")
    assert "Secure" in guarded
    assert "Domain" not in guarded
    for cookie in (plain, guarded):
        assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=600"} <= set(cookie.split("; "))


async def test_the_same_account_connected_twice_at_once_is_one_connection(served):
    browser = await served.operator()
    ways_back = [await served.consented(browser, "/connect/sandbox?user=ada") for _ in range(3)]
    answers = []

    async def come_back(url):
        answers.append(await browser.get(url))

    async with anyio.create_task_group() as group:
        for url in ways_back:
            group.start_soon(come_back, url)

    (row,) = await connections_of(served)
    assert [answer.headers["location"].partition("connected=")[2] for answer in answers] == [row.id] * 3
    assert (await served.host.tokens.fresh(row.id)).access


async def test_two_flows_of_one_browser_do_not_disturb_each_other(served):
    browser = await served.operator()
    first = await served.consented(browser, "/connect/sandbox?user=ada")
    second = await served.consented(browser, "/connect/github?user=ada")

    assert [(await browser.get(url)).status_code for url in (second, first)] == [303, 303]


async def test_the_same_account_connected_again_stays_one_connection_and_another_account_is_a_second(served):
    browser = await served.operator()

    async def connect(person):
        back = await served.consented(browser, "/connect/sandbox?user=ada", person=person)
        return (await browser.get(back)).headers["location"].partition("connected=")[2]

    first, again, other = [await connect(person) for person in ("mira", "mira", "oskar")]

    assert first == again
    assert {row.id: row.account_id for row in await connections_of(served)} == {first: "mira", other: "oskar"}


@on_sqlite
async def test_what_was_unticked_on_the_consent_page_is_not_stored_as_granted(served):
    browser = await served.operator()
    await browser.get(await served.consented(browser, "/connect/sandbox?user=ada", scope=["mood"]))

    (row,) = await connections_of(served)
    assert row.scopes == "mood"


@on_sqlite
@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "status", "path": "/token", "status": 500}, 503),
        ({"kind": "html", "path": "/token"}, 503),
        ({"kind": "malformed", "path": "/token"}, 503),
        ({"kind": "empty", "path": "/token"}, 503),
        ({"kind": "drop", "path": "/token"}, 503),
        ({"kind": "redirect", "path": "/token"}, 502),
        ({"kind": "limited", "path": "/token"}, 503),
        ({"kind": "invalid_client", "path": "/token"}, 502),
        ({"kind": "invalid_grant", "path": "/token"}, 409),
        ({"kind": "status", "path": "/v1/me", "status": 500}, 503),
        ({"kind": "html", "path": "/v1/me"}, 502),
        ({"kind": "set_member", "path": "/v1/me", "name": "id", "value": None}, 502),
    ],
    ids=lambda value: f"{value['kind']} {value['path']}" if isinstance(value, dict) else str(value),
)
async def test_a_platform_that_fails_at_the_end_leaves_no_connection_and_says_what_to_do(served, fault, status):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")
    served.sandbox.faults.add(**fault, times=None)

    failed = await browser.get(back)

    assert failed.status_code == status
    assert "Not connected" in failed.text
    assert await connections_of(served) == []


@on_sqlite
async def test_a_platform_that_cannot_be_connected_says_why(serve):
    platforms = {"spotify": {"enabled": False}}
    async with serve(clients={"spotify": {"id": "x", "secret": "y"}}, platforms=platforms) as served:
        browser = await served.operator()
        answers = {
            name: await browser.get(f"/connect/{name}")
            for name in ("nowhere", "soulwatch:broadcaster", "sandbox", "spotify")
        }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "nowhere": 404,
        "soulwatch:broadcaster": 404,
        "sandbox": 502,
        "spotify": 502,
    }
    assert "SANDBOX_CLIENT_ID" in answers["sandbox"].text
    assert "switched off" in answers["spotify"].text


async def test_the_verifier_is_stored_sealed_and_gone_when_the_flow_has_ended(served):
    browser = await served.operator()
    back = await served.consented(browser, "/connect/sandbox?user=ada")
    challenge = served.sandbox.requests.of("sandbox", "/authorize")[0].query["code_challenge"]
    (flow,) = await flows_of(served)

    assert bytes(flow.state_hash) == hashlib.sha256(query_of(back)["state"][0].encode()).digest()
    assert challenge.encode() not in bytes(flow.verifier)
    await browser.get(back)
    assert await flows_of(served) == []


async def flows_of(served):
    async with served.host.database.reading() as transaction:
        return (await transaction.execute(select(flows))).all()
