"""Items, events, messages and health, as an application asks for them."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.served import on_sqlite, until

from soulwatch.testing.clock import PlayedClock


@pytest.fixture
async def application(served, world):
    """An application whose user ada has connected the sandbox."""
    await world.connect(served.host)
    return await served.application()


def problem_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["detail"]


async def test_data_are_read_in_pages_that_neither_repeat_nor_leave_out(application):
    await application.post("/api/users/ada/poll")
    found, before = [], None
    while True:
        wanted = {"user": "ada", "data_type": "archive", "limit": 60, **({"before": before} if before else {})}
        page = (await application.get("/api/data", params=wanted)).json()
        found += page["items"]
        before = page["before"]
        if before is None:
            break

    assert len(found) == len({item["key"] for item in found}) == 250
    assert [item["id"] for item in found] == sorted((item["id"] for item in found), reverse=True)
    assert all(isinstance(item["raw_data"], dict) for item in found)
    assert {item["platform"] for item in found} == {"sandbox"}


async def test_data_are_found_by_what_they_belong_to(served, world, application):
    await world.connect(served.host, user="bo", person="oskar")
    for user in ("ada", "bo"):
        await application.post(f"/api/users/{user}/poll")
    ids = {one["user"]: one["id"] for one in (await application.get("/api/connections")).json()["connections"]}

    async def users(**wanted):
        return {item["user"] for item in (await application.get("/api/data", params=wanted)).json()["items"]}

    assert await users(data_type="archive", limit=1000) == {"ada", "bo"}
    assert await users(user="bo") == {"bo"}
    assert await users(connection=ids["bo"]) == {"bo"}
    assert await users(user="ada", connection=ids["bo"]) == set()
    assert await users(platform="github") == set()


async def test_data_are_counted(application):
    await application.post("/api/users/ada/poll")

    counts = (await application.get("/api/data/counts?user=ada")).json()["counts"]

    archive = next(one for one in counts if one["data_type"] == "archive")
    assert (archive["platform"], archive["count"]) == ("sandbox", 250)
    assert datetime.fromisoformat(archive["newest"]) > datetime.now(UTC) - timedelta(minutes=1)


async def test_events_are_read_on_from_a_number(application):
    for number in range(5):
        await application.post("/api/users/bo/message", json={"type": "step", "number": number})

    first = (await application.get("/api/events?user=bo&limit=2")).json()
    rest = (await application.get("/api/events?user=bo&after=2")).json()

    assert [event["seq"] for event in first["events"]] == [1, 2]
    assert [event["number"] for event in rest["events"]] == [2, 3, 4]
    assert first["last"] == rest["last"] == 5
    assert (await application.get("/api/events?user=bo&after=9")).json() == {"events": [], "last": 5}
    assert (await application.get("/api/events?user=nobody")).json() == {"events": [], "last": 0}
    assert problem_of(await application.get("/api/events")) == (422, '"user" is needed: whose events?')


async def test_a_message_of_the_applications_own_is_told(application):
    sent = await application.post(
        "/api/users/bo/message", json={"type": "hello", "text": "ж", "seq": 99, "user": "eve"}
    )

    assert sent.status_code == 201
    assert {name: sent.json()[name] for name in ("type", "text", "seq", "user", "platform")} == {
        "type": "hello",
        "text": "ж",
        "seq": 1,
        "user": "bo",
        "platform": None,
    }
    assert (await application.get("/api/events?user=bo")).json()["events"] == [sent.json()]


@on_sqlite
@pytest.mark.parametrize(
    "kind", ["platform_sync", "token_refresh", "new_data", "connection_status", "", None, 7, ["x"]]
)
async def test_a_message_cannot_pass_for_one_of_ours(application, kind):
    refused = await application.post("/api/users/bo/message", json={"type": kind})

    assert problem_of(refused)[0] == 422
    assert (await application.get("/api/events?user=bo")).json()["last"] == 0


@on_sqlite
async def test_a_message_is_small(application):
    assert (
        await application.post("/api/users/bo/message", json={"type": "x", "text": "y" * 16_000})
    ).status_code == 201
    assert (
        await application.post("/api/users/bo/message", json={"type": "x", "text": "y" * 17_000})
    ).status_code == 413


@on_sqlite
async def test_a_ticket_is_given_for_thirty_seconds(application):
    given = await application.post("/api/ws-tickets", json={"user": "ada"})

    assert given.status_code == 201
    assert given.json()["expires_in"] == 30
    assert len(given.json()["ticket"]) == 43


async def test_who_is_asked_whether_the_host_is_well_needs_no_proof(served):
    visitor = await served.visitor()
    for path in ("/healthz", "/readyz"):
        assert (await visitor.get(path)).json() == {"status": "ok"}
        assert (await visitor.head(path)).status_code == 200


@on_sqlite
async def test_without_its_database_the_host_is_not_ready(served, tmp_path: Path):
    await served.host.database.close()
    (tmp_path / "soulwatch.db").unlink()
    (tmp_path / "soulwatch.db").mkdir()

    status, detail = problem_of(await (await served.visitor()).get("/readyz"))

    assert (status, detail) == (503, "The database does not answer.")
    # The driver's thread has something to say to this event loop yet.
    await until(lambda: not any("connection_worker" in thread.name for thread in threading.enumerate()))


@pytest.mark.fault("F60")
@on_sqlite
async def test_a_loop_that_shows_no_life_makes_the_host_unwell(serve):
    clock = PlayedClock(datetime.now(UTC))
    async with serve(clock=clock) as served:
        visitor = await served.visitor()
        async with served.host.working():
            await until(lambda: len(served.host.worker._beats) == 4)
            assert (await visitor.get("/healthz")).status_code == 200
            clock.jump(61)
            status, detail = problem_of(await visitor.get("/healthz"))
    assert status == 503
    assert "polling" in detail
    assert "refreshing" in detail
    assert "recovery" in detail
