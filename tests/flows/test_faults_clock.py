"""A wall clock that jumps under a host at work, while its platform's goes on as it should."""

from datetime import UTC, datetime, timedelta

import anyio
import pytest
from support.refreshing import expire, held_up, is_good, refreshes, statuses
from support.served import on_sqlite
from support.skipping import SkippingClock

from soulwatch.host.agreed import AgreedClock
from soulwatch.host.clock import SystemClock
from soulwatch.host.timing import RefreshPolicy

HOUR, MONTH = 3600, 30 * 86400
JUMPS = {"an hour on": HOUR, "an hour back": -HOUR, "a month on": MONTH, "a month back": -MONTH}
USERS = 2
LIFE_S = 400
POLLED_EVERY_S = 30


class JumpingClock(SkippingClock):
    """Its wall time can be set, as somebody who is root does it."""

    def __init__(self):
        super().__init__()
        self.jumped = timedelta(0)

    def now(self):
        return self.right() + self.jumped

    def right(self):
        """What the platform's clock shows."""
        return super().now()


def seldom(world):
    """Settings under which one endpoint is polled, and not often."""
    platforms = world.settings().model_dump()["platforms"]
    schedules = {"notes": f"{POLLED_EVERY_S}s", "mood": "off", "follows": "off", "archive": "off"}
    return {"platforms": {**platforms, "sandbox": {**platforms["sandbox"], "schedules": schedules}}}


def polled(world):
    return len(world.sandbox.requests.of("sandbox", "/v1/notes"))


@pytest.mark.fault("F31")
@pytest.mark.parametrize(
    "jump", [HOUR, -HOUR, MONTH, -MONTH], ids=["an hour on", "an hour back", "a month on", "a month back"]
)
@on_sqlite
async def test_when_the_clock_jumps_nothing_storms_and_nothing_that_is_due_waits_longer_than_a_minute(open_world, jump):
    clock = JumpingClock()
    async with (
        open_world(token_life=LIFE_S, rotation="strict", old_access_dies=True, now=clock.right) as world,
        clock.running(),
        world.host(RefreshPolicy(), clock=clock, **seldom(world)) as host,
    ):
        clock.watch(host)
        connections = [await world.connect(host, user=f"user {number}") for number in range(USERS)]
        async with host.working():
            await clock.sleep(60)
            world.sandbox.requests.clear()
            clock.jumped = timedelta(seconds=jump)
            await clock.sleep(60)
            assert polled(world) >= USERS
            for connection in connections:
                assert is_good(world, await host.tokens.fresh(connection.id))
            world.sandbox.requests.clear()
            await clock.sleep(LIFE_S)
            assert USERS <= len(refreshes(world)) <= 4 * USERS
            usual = USERS * LIFE_S / POLLED_EVERY_S
            assert 0.6 * usual <= polled(world) <= 1.5 * usual
            for connection in connections:
                assert is_good(world, await host.tokens.fresh(connection.id))
        for connection in connections:
            assert set(await statuses(host, connection.user)) <= {"connected"}
            row = await host.accounts.row(connection.id)
            assert row.reason is None
            assert row.next_refresh_at <= clock.now() + timedelta(seconds=LIFE_S)
        assert not any(grant.revoked for grant in world.sandbox.grants.of())


class OfAnotherMachine(SystemClock):
    """A machine whose clock goes wrong by so much."""

    wrong_by = timedelta(0)

    def now(self):
        return super().now() + self.wrong_by


class Early(AgreedClock, type("TenMinutesEarly", (OfAnotherMachine,), {"wrong_by": timedelta(minutes=10)})): ...


class Late(AgreedClock, type("TenMinutesLate", (OfAnotherMachine,), {"wrong_by": timedelta(minutes=-10)})): ...


@pytest.mark.fault("F35")
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize("platform_is_wrong_by", [timedelta(minutes=10), timedelta(minutes=-10)], ids=str)
async def test_hosts_whose_clocks_differ_take_no_claim_from_each_other(open_world, platform_is_wrong_by):
    def of_platform():
        return datetime.now(UTC) + platform_is_wrong_by

    async with (
        open_world(rotation="strict", old_access_dies=True, now=of_platform) as world,
        world.host(clock=Early()) as early,
        world.host(clock=Late()) as late,
    ):
        connection = await world.connect(early)
        for slow, quick in ((early, late), (late, early)) * 2:
            await expire(world, slow, connection)
            world.sandbox.requests.clear()
            gate = held_up(slow)
            async with anyio.create_task_group() as group:
                group.start_soon(slow.tokens.fresh, connection.id)
                await gate.reached.wait()
                assert await quick.sweeper.sweep() == 0
                assert await quick.sweeper.recover() == 0
                assert await quick.tokens._claims.claim(connection.id) is None
                gate.open.set()
            assert await quick.tokens.fresh(connection.id) == await slow.tokens.fresh(connection.id)
            assert is_good(world, await quick.tokens.fresh(connection.id))
            assert len(refreshes(world)) == 1
        assert abs(early.clock.now() - late.clock.now()) < timedelta(seconds=5)
