"""Plugins, connections and tokens, as an application asks for them."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from support.served import on_sqlite


@pytest.fixture
async def application(served, world):
    """An application whose user ada has connected the sandbox."""
    await world.connect(served.host)
    return await served.application()


async def only_connection(application):
    (one,) = (await application.get("/api/connections")).json()["connections"]
    return one


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


@on_sqlite
async def test_plugins_are_listed_with_what_is_missing_to_use_them(serve):
    async with serve(clients={"sandbox": {"id": "x"}}, plugins={"deny": ["github"]}) as served:
        said = (await (await served.application()).get("/api/plugins")).json()
    plugins = {plugin["name"]: plugin for plugin in said["plugins"]}

    assert plugins["sandbox"]["platform"]["client_set"] is True
    assert plugins["spotify"]["platform"]["client_set"] is False
    assert plugins["sandbox"]["platform"]["redirect_uri"] == f"{served.url}/connect/sandbox/callback"
    assert {"name": "notes", "schedule": "every 10 seconds"} in plugins["sandbox"]["endpoints"]
    assert not any(name.startswith("soulwatch:") for name in plugins), "parts of the host are no plugins to people"
    (problem,) = said["problems"]
    assert (problem["plugin"], problem["distribution"]) == ("github", "soulwatch-github")


async def test_connections_are_listed_by_user_and_platform(served, world, application):
    await world.connect(served.host, user="bo", person="oskar")
    await world.connect(served.host, platform="github", user="ada")

    async def listed(**wanted):
        found = (await application.get("/api/connections", params=wanted)).json()["connections"]
        return [(one["user"], one["platform"], one["account"]["id"]) for one in found]

    assert len(await listed()) == 3
    assert await listed(user="bo") == [("bo", "sandbox", "oskar")]
    assert await listed(user="ada", platform="sandbox") == [("ada", "sandbox", "mira")]
    assert await listed(user="nobody") == []


async def test_a_connection_says_how_it_is(application):
    one = await only_connection(application)

    assert (await application.get(f"/api/connections/{one['id']}")).json() == one
    assert one["title"] == "Sandbox"
    assert one["status"] == "connected"
    assert one["scopes"] == ["notes", "mood", "follows", "archive"]
    assert one["token_expires_at"].endswith("Z")
    assert datetime.fromisoformat(one["token_expires_at"]) > datetime.now(UTC) + timedelta(minutes=14)
    assert [poll["data_type"] for poll in one["polls"]] == ["archive", "follows", "mood", "notes"]
    assert one["last_sync"] is None
    await application.post(f"/api/connections/{one['id']}/poll")
    assert (await only_connection(application))["last_sync"] is not None


@on_sqlite
async def test_what_is_not_there_is_not_found(served, application):
    for method, path in (
        ("GET", "/api/connections/nowhere"),
        ("DELETE", "/api/connections/nowhere"),
        ("POST", "/api/connections/nowhere/poll"),
        ("POST", "/api/connections/nowhere/refresh"),
        ("POST", "/api/connect-sessions/nowhere/activate"),
    ):
        json = {"code": "x"} if path.endswith("activate") else None
        status, detail = problem_of(await application.request(method, path, json=json))
        assert status == 404, path
        assert "nowhere" in detail or "connect session" in detail
    for user, platform in (("nobody", "sandbox"), ("ada", "github"), ("ada", "nowhere")):
        refused = await application.post(f"/api/users/{user}/token", json={"platform": platform})
        assert problem_of(refused)[0] == 404
    one = await only_connection(application)
    refused = await application.post(f"/api/connections/{one['id']}/poll", json={"data_type": "dreams"})
    assert problem_of(refused) == (404, f"The connection {one['id']!r} has no endpoint 'dreams'.")


async def test_polling_a_connection_tells_what_is_new(served, application):
    one = await only_connection(application)
    path = f"/api/connections/{one['id']}/poll"

    first = (await application.post(path)).json()["polls"]
    assert {poll["data_type"]: poll["problem"] for poll in first} == dict.fromkeys(
        ("archive", "follows", "mood", "notes")
    )
    assert {poll["data_type"]: poll["new"] for poll in first}["archive"] == 250
    served.sandbox.add_item(count=3)
    notes = (await application.post(path, json={"data_type": "notes"})).json()["polls"]
    assert [(poll["data_type"], poll["new"], poll["platform"]) for poll in notes] == [("notes", 3, "sandbox")]


@on_sqlite
async def test_a_poll_that_fails_says_why_and_the_others_go_on(served, application):
    one = await only_connection(application)
    served.sandbox.faults.add("status", path="/v1/notes", status=500, times=None)

    answer = await application.post(f"/api/connections/{one['id']}/poll")

    assert answer.status_code == 200
    problems = {poll["data_type"]: poll["problem"] for poll in answer.json()["polls"]}
    assert "HTTP 500" in problems.pop("notes")
    assert set(problems.values()) == {None}


async def test_all_accounts_of_a_user_are_polled_together(served, world, application):
    await world.connect(served.host, platform="github")
    await world.connect(served.host, user="bo", person="oskar")

    polls = (await application.post("/api/users/ada/poll")).json()["polls"]

    assert {poll["platform"] for poll in polls} == {"sandbox", "github"}
    assert {poll["problem"] for poll in polls} == {None}
    assert (await application.get("/api/data/counts?user=bo")).json() == {"counts": []}
    assert (await application.post("/api/users/nobody/poll")).json() == {"polls": []}


async def test_refreshing_brings_a_token_that_lasts_longer(served, application):
    one = await only_connection(application)

    refreshed = await application.post(f"/api/connections/{one['id']}/refresh")

    assert refreshed.json()["expires_at"] > one["token_expires_at"]
    assert len(served.sandbox.token_requests("sandbox", "refresh_token")) == 1


async def test_a_connection_that_only_its_user_can_mend_is_a_conflict(served, application):
    one = await only_connection(application)
    served.sandbox.revoke_user("mira")
    requests = [
        ("/api/users/ada/token", {"platform": "sandbox"}),
        (f"/api/connections/{one['id']}/refresh", None),
        (f"/api/connections/{one['id']}/poll", None),
    ]
    for _ in range(2):  # one answer alone ends nothing
        await application.post(f"/api/connections/{one['id']}/refresh")

    for path, json in requests:
        assert problem_of(await application.post(path, json=json))[0] == 409, path
    assert (await only_connection(application))["status"] == "needs_reauth"


@on_sqlite
async def test_a_platform_that_asks_to_wait_is_unavailable_until_then(served, application):
    served.sandbox.expire()
    async with served.host.database.writing() as transaction:
        await transaction.exec_driver_sql("UPDATE platform_connections SET token_expires_at = '2020-01-01'")
    served.sandbox.faults.add("limited", path="/token", retry_after=90, times=None)

    for _ in range(2):
        refused = await application.post("/api/users/ada/token", json={"platform": "sandbox"})
        assert problem_of(refused)[0] == 503
        assert 80 <= int(refused.headers["retry-after"]) <= 90


@on_sqlite
async def test_a_wrong_client_secret_is_the_operators_to_mend(served, application):
    async with served.host.database.writing() as transaction:
        await transaction.exec_driver_sql("UPDATE platform_connections SET token_expires_at = '2020-01-01'")
    served.sandbox.faults.add("invalid_client", path="/token", times=None)

    refused = await application.post("/api/users/ada/token", json={"platform": "sandbox"})

    assert problem_of(refused)[0] == 502
    assert "client id and secret" in refused.json()["detail"]


@on_sqlite
async def test_a_token_works_at_its_platform_and_its_text_is_for_applications_alone(served, application):
    given = (await application.post("/api/users/ada/token", json={"platform": "sandbox"})).json()
    async with httpx.AsyncClient(trust_env=False) as http:
        platform = served.host.platforms.settings("sandbox").api_url
        me = await http.get(f"{platform}/sandbox/v1/me", headers={"Authorization": f"Bearer {given['access_token']}"})
    assert me.json()["id"] == "mira"
    seen = (await (await served.operator()).post("/api/users/ada/token", json={"platform": "sandbox"})).json()
    assert seen == {name: given[name] for name in ("expires_at", "scopes")}


async def test_disconnecting_ends_it_here_and_at_the_platform(served, application):
    one = await only_connection(application)

    assert (await application.delete(f"/api/connections/{one['id']}")).json() == {"revoked": True}

    assert [grant.revoked for grant in served.sandbox.grants.of()] == [True]
    ended = await only_connection(application)
    assert (ended["status"], ended["token_expires_at"]) == ("disconnected", None)
    assert problem_of(await application.post(f"/api/connections/{one['id']}/poll"))[0] == 409
    assert problem_of(await application.post("/api/users/ada/token", json={"platform": "sandbox"}))[0] == 409
    told = (await application.get("/api/events?user=ada")).json()["events"][-1]
    assert (told["type"], told["status"]) == ("connection_status", "disconnected")


async def test_disconnecting_twice_ends_nothing_more(served, application):
    one = await only_connection(application)
    for _ in range(2):
        assert (await application.delete(f"/api/connections/{one['id']}")).status_code == 200
    assert [event["type"] for event in (await application.get("/api/events?user=ada")).json()["events"]] == [
        "connection_status",
        "connection_status",
    ]


@on_sqlite
async def test_a_platform_that_is_away_keeps_nobody_connected_here(served, application):
    one = await only_connection(application)
    served.sandbox.faults.add("status", path="/revoke", status=503, times=None)

    assert (await application.delete(f"/api/connections/{one['id']}")).json() == {"revoked": False}
    row = await served.host.accounts.row(one["id"])
    assert (row.status, row.access_token, row.refresh_token, row.sealed_key) == ("disconnected", None, None, None)
