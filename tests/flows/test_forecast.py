from dataclasses import replace
from datetime import timedelta

from support.refreshing import Interrupted, expire, host_with, played

from soulwatch import Account, Token, hookimpl
from soulwatch.testing.clock import PlayedClock


def foretold(events):
    return [event.data for event in events if event.data.get("reason") == "reauth_soon"]


async def test_the_end_of_a_grant_is_told_fourteen_three_and_one_day_before_and_once_each(world):
    clock = PlayedClock()
    async with world.host(clock=clock) as host:
        facts = host.platforms.facts("spotify")
        end = clock.now() + timedelta(days=180)
        token = Token("a", "r", clock.now() + timedelta(hours=1), grant_expires_at=end)
        await host.accounts.store("ada", facts, Account("1", "Ada"), token)
        told_on = []
        for day in range(181):
            await host.forecast.look_ahead()
            await host.forecast.look_ahead()
            told_on += [180 - day] * (len(foretold(await host.events("ada", limit=1000))) - len(told_on))
            await clock.advance(86400)
        assert told_on == [14, 3, 1]
        assert facts.reconnect_hint in foretold(await host.events("ada", limit=1000))[0]["message"]


async def test_a_token_that_cannot_be_refreshed_ends_its_grant(world):
    clock = PlayedClock()
    async with world.host(clock=clock) as host:
        facts = host.platforms.facts("github")
        await host.accounts.store(
            "ada", facts, Account("1", "Ada"), Token("a", expires_at=clock.now() + timedelta(days=2))
        )
        assert await host.forecast.look_ahead() == 1
        (told,) = foretold(await host.events("ada"))
        assert told["status"] == "connected"


async def test_connected_again_the_forecast_begins_anew(world):
    clock = PlayedClock()
    async with world.host(clock=clock) as host:
        facts = host.platforms.facts("spotify")
        for _ in range(2):
            end = clock.now() + timedelta(days=10)
            token = Token("a", "r", clock.now() + timedelta(hours=1), grant_expires_at=end)
            await host.accounts.store("ada", facts, Account("1", "Ada"), token)
            assert await host.forecast.look_ahead() == 1


async def test_an_end_that_differs_by_less_than_a_second_is_told_once(open_world):
    clock = played()
    end = clock.now() + timedelta(days=10)

    class Ends(Interrupted):
        @hookimpl
        async def refresh_token(self, token, client, http):
            fresh = await self.facts.oauth.refresh(token, client, http)
            left = int((end - clock.now()).total_seconds())
            return replace(fresh, grant_expires_at=clock.now() + timedelta(seconds=left))

    async with open_world(now=clock.now) as world, host_with(world, Ends(), clock=clock) as host:
        connection = await world.connect(host)
        for _ in range(4):
            await expire(world, host, connection)
            await host.tokens.fresh(connection.id)
            await host.forecast.look_ahead()
            await clock.advance(3000.37)
        told = [event for event in await host.events("ada") if event.data.get("reason") == "reauth_soon"]
        assert len(told) == 1
