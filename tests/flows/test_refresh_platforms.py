"""Refreshing as GitHub and Spotify have it, each in the sandbox's pose."""

from datetime import timedelta

import pytest
from support.refreshing import change, expire, is_good, journal, played, refreshes, statuses
from support.served import on_sqlite

from soulwatch import NeedsReauth, Unavailable
from soulwatch.host.timing import RefreshPolicy

pytestmark = on_sqlite


def without_end(world):
    """Settings under which GitHub gives tokens that do not end."""
    platforms = world.settings().model_dump()["platforms"]
    return {"platforms": {**platforms, "github": {**platforms["github"], "scopes": ["read:user"]}}}


# GitHub: each refresh token works once, and the old access token dies with it


async def test_github_rotates_strictly_and_stays_connected(world):
    async with world.host() as host:
        connection = await world.connect(host, "github")
        old = await host.ensure_fresh_token("ada", "github")
        for _ in range(3):
            await expire(world, host, connection)
            fresh = await host.ensure_fresh_token("ada", "github")
            assert fresh.refresh != old.refresh
            assert is_good(world, fresh, "github")
            assert not is_good(world, old, "github")
            old = fresh

        assert len(refreshes(world, "github")) == 3
        assert fresh.expires_at - host.clock.now() > timedelta(hours=7)
        assert fresh.grant_expires_at - host.clock.now() > timedelta(days=180)


@pytest.mark.fault("F18")
async def test_github_says_in_http_200_that_a_grant_is_dead(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(RefreshPolicy(), clock=clock) as host:
        connection = await world.connect(host, "github")
        await expire(world, host, connection)
        world.sandbox.revoke_user("mira")
        with pytest.raises(Unavailable) as doubted:
            await host.ensure_fresh_token("ada", "github")
        assert doubted.value.code == "bad_refresh_token"
        assert [entry.status for entry in refreshes(world, "github")] == [200]

        await clock.advance(61)
        with pytest.raises(NeedsReauth):
            await host.ensure_fresh_token("ada", "github")
        told = (await host.events("ada"))[-1].data
        assert (told["status"], told["reason"]) == ("needs_reauth", "invalid_grant")
        assert told["message"].startswith("GitHub no longer honours this connection: connect it again.")


@pytest.mark.fault("F18")
async def test_github_says_in_http_200_that_it_does_not_know_our_client(world):
    async with world.host() as host:
        connection = await world.connect(host, "github")
        await expire(world, host, connection)
        world.sandbox.faults.add("invalid_client", pose="github", path="/login/oauth/access_token", times=None)
        with pytest.raises(Exception, match="incorrect_client_credentials"):
            await host.ensure_fresh_token("ada", "github")

        row = await host.accounts.row(connection.id)
        assert (row.status, row.reason) == ("connected", "misconfigured")
        assert "needs_reauth" not in await statuses(host)


async def test_an_answer_of_github_without_a_new_refresh_token_is_no_answer(world):
    async with world.host() as host:
        connection = await world.connect(host, "github")
        await expire(world, host, connection)
        world.sandbox.faults.add("set_member", pose="github", path="/login", name="refresh_token", value=None)
        with pytest.raises(Unavailable):
            await host.ensure_fresh_token("ada", "github")

        row = await host.accounts.row(connection.id)
        assert (row.status, row.is_ambiguous) == ("connected", True)


@pytest.mark.fault("F09")
async def test_a_token_that_another_refresh_has_killed_is_not_used_on(world):
    """A poll that began with the old token is answered 401; it goes on with the new one, without a refresh more."""
    async with world.host() as one, world.host() as other:
        connection = await world.connect(one, "github")
        old = await one.ensure_fresh_token("ada", "github")
        new, _ = await other.refresh_connection(connection.id)

        assert await one.tokens.fresh(connection.id, refused=old.access) == new
        assert len(refreshes(world, "github")) == 1


async def test_a_token_without_end_is_never_refreshed(open_world):
    clock = played()
    async with open_world(now=clock.now) as world, world.host(clock=clock, **without_end(world)) as host:
        connection = await world.connect(host, "github")
        token = await host.ensure_fresh_token("ada", "github")
        assert (token.refresh, token.expires_at) == (None, None)
        for _ in range(3):
            await clock.advance(400 * 86400)
            assert await host.ensure_fresh_token("ada", "github") == token
            assert await host.refresh_connection(connection.id) == (token, False)
            assert await host.sweeper.sweep() == 0

        assert refreshes(world, "github") == []
        assert await journal(host, connection) == []
        assert await host.sweeper.next_due() is None


async def test_a_token_without_end_that_is_refused_twice_is_its_users_matter(open_world):
    clock = played()
    async with (
        open_world(now=clock.now) as world,
        world.host(RefreshPolicy(), clock=clock, **without_end(world)) as host,
    ):
        connection = await world.connect(host, "github")
        token = await host.ensure_fresh_token("ada", "github")
        with pytest.raises(Unavailable, match="asked once more"):
            await host.tokens.fresh(connection.id, refused=token.access)
        assert await host.ensure_fresh_token("ada", "github") == token

        await clock.advance(61)
        world.sandbox.revoke_user("mira")
        with pytest.raises(NeedsReauth):
            await host.tokens.fresh(connection.id, refused=token.access)
        assert (await host.accounts.row(connection.id)).status == "needs_reauth"
        assert (await statuses(host))[-1] == "needs_reauth"


async def test_a_token_without_end_that_one_endpoint_refuses_for_ever_is_nobodys_matter(open_world):
    clock = played()
    async with (
        open_world(now=clock.now) as world,
        world.host(RefreshPolicy(), clock=clock, **without_end(world)) as host,
    ):
        connection = await world.connect(host, "github")
        token = await host.ensure_fresh_token("ada", "github")
        for _ in range(6):
            with pytest.raises(Unavailable):
                await host.tokens.fresh(connection.id, refused=token.access)
            await clock.advance(61)
        assert (await host.accounts.row(connection.id)).status == "connected"
        assert set(await statuses(host)) == {"connected"}


@pytest.mark.fault("F22")
async def test_a_platform_that_refuses_all_tokens_without_end_is_not_believed_for_a_day(open_world, caplog):
    clock = played()
    async with (
        open_world(now=clock.now) as world,
        world.host(RefreshPolicy(), clock=clock, **without_end(world)) as host,
    ):
        made = [await world.connect(host, "github", user=f"u{number}") for number in range(21)]
        token = await host.ensure_fresh_token("u0", "github")
        world.sandbox.revoke_user("mira")
        for _ in range(3):
            for connection in made:
                with pytest.raises(Unavailable):
                    await host.tokens.fresh(connection.id, refused=await access_of(host, connection))
            await clock.advance(61)
        assert {row.status for row in await host.accounts.rows()} == {"connected"}
        assert "OPERATOR: github refuses many tokens at once" in caplog.text

        await clock.advance(86400)
        with pytest.raises(NeedsReauth):
            await host.tokens.fresh(made[0].id, refused=token.access)


async def access_of(host, connection):
    return (await host.tokens.fresh(connection.id)).access


async def test_a_token_without_end_that_works_again_is_nobodys_matter(open_world):
    clock = played()
    async with (
        open_world(now=clock.now) as world,
        world.host(RefreshPolicy(), clock=clock, **without_end(world)) as host,
    ):
        connection = await world.connect(host, "github")
        token = await host.ensure_fresh_token("ada", "github")
        for _ in range(3):
            with pytest.raises(Unavailable):
                await host.tokens.fresh(connection.id, refused=token.access)
            [outcome] = await host.poll_connection(connection.id, "repos")
            assert outcome.problem is None
            await clock.advance(3600)

        assert (await host.accounts.row(connection.id)).status == "connected"


async def test_a_token_that_ends_and_cannot_be_refreshed_is_its_users_matter_when_it_has_ended(open_world):
    clock = played()
    async with (
        open_world(now=clock.now) as world,
        world.host(RefreshPolicy(), clock=clock, **without_end(world)) as host,
    ):
        connection = await world.connect(host, "github")
        await change(host, connection, token_expires_at=clock.now() + timedelta(minutes=5))
        await clock.advance(294)
        assert (await host.ensure_fresh_token("ada", "github")).access
        await clock.advance(2)  # it could end on its way
        with pytest.raises(NeedsReauth):
            await host.ensure_fresh_token("ada", "github")

        assert (await host.accounts.row(connection.id)).reason == "expired"


# Spotify: one refresh token for as long as the consent lasts


@pytest.mark.fault("F20")
async def test_spotify_keeps_its_refresh_token(world):
    async with world.host() as host:
        connection = await world.connect(host, "spotify")
        first = await host.ensure_fresh_token("ada", "spotify")
        for count in range(1, 4):
            await expire(world, host, connection)
            fresh = await host.ensure_fresh_token("ada", "spotify")
            assert fresh.refresh == first.refresh
            assert fresh.access != first.access
            assert is_good(world, fresh, "spotify")
            assert len(refreshes(world, "spotify")) == count

        # Refreshing does not move the end of the consent.
        assert fresh.grant_expires_at == first.grant_expires_at
        row = await host.accounts.row(connection.id)
        assert row.generation == 4


async def test_spotifys_refusal_of_a_revoked_consent_is_understood(world):
    async with world.host() as host:
        connection = await world.connect(host, "spotify")
        await expire(world, host, connection)
        world.sandbox.revoke_user("mira")
        with pytest.raises(Unavailable):
            await host.ensure_fresh_token("ada", "spotify")
        await change(host, connection, next_refresh_at=host.clock.now())
        with pytest.raises(NeedsReauth):
            await host.ensure_fresh_token("ada", "spotify")

        assert (await statuses(host))[-1] == "needs_reauth"
