from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from soulwatch import Event
from soulwatch.host.broadcaster import Broadcaster, Listener, TooSlow
from soulwatch.host.store import events
from soulwatch.host.store.database import Database
from soulwatch.host.store.migrate import migrate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUEUE = 4


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url)
    await migrate(opened)
    yield opened
    await opened.close()


@pytest.fixture
def broadcaster(database: Database) -> Broadcaster:
    return Broadcaster(database, queue_length=QUEUE)


async def stored(database: Database, count: int, user: str = "ada", at: datetime = NOW) -> list[Event]:
    """So many events that happened to a user and that nobody was told of yet."""
    async with database.writing() as transaction:
        return await events.append(transaction, [Event("note", user)] * count, at)


def announce(broadcaster: Broadcaster, told: Sequence[Event]) -> None:
    for event in told:
        broadcaster.on_event(event)


async def heard(listener: Listener, count: int) -> list[int]:
    with anyio.fail_after(5):
        return [(await listener.next()).seq for _ in range(count)]


async def hears_nothing(listener: Listener) -> bool:
    with anyio.move_on_after(0.03) as scope:
        await listener.next()
    return scope.cancelled_caught


async def test_what_is_announced_is_heard_by_its_user_alone(database, broadcaster):
    with (
        broadcaster.listening("ada", 0) as one,
        broadcaster.listening("ada", 0) as two,
        broadcaster.listening("bo", 0) as other,
    ):
        announce(broadcaster, await stored(database, 2))

        assert [await heard(listener, 2) for listener in (one, two)] == [[1, 2], [1, 2]]
        assert await hears_nothing(other)
        assert broadcaster.open_sockets == 3
    assert broadcaster.open_sockets == 0


async def test_a_listener_begins_after_the_number_it_names(database, broadcaster):
    await stored(database, 3)
    with broadcaster.listening("ada", 2) as listener:
        assert await heard(listener, 1) == [3]
        assert await hears_nothing(listener)


async def test_what_is_announced_while_it_waits_wakes_it(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener:
        assert await hears_nothing(listener)
        announce(broadcaster, await stored(database, 1))
        assert await heard(listener, 1) == [1]


async def test_a_hole_is_filled_from_the_store(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener:
        announce(broadcaster, (await stored(database, 1)))
        assert await heard(listener, 1) == [1]
        told = await stored(database, 4)
        announce(broadcaster, [told[1], told[3]])  # 2 and 4 were announced in another process
        assert await heard(listener, 4) == [2, 3, 4, 5]
        assert await hears_nothing(listener)


async def test_out_of_order_and_twice_is_heard_in_order_and_once(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener:
        assert await hears_nothing(listener)
        one, two, three = await stored(database, 3)
        announce(broadcaster, [three, one, two, one])
        assert await heard(listener, 3) == [1, 2, 3]
        announce(broadcaster, [two, three])
        assert await hears_nothing(listener)


async def test_what_another_process_stored_is_found_by_looking_around(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener, broadcaster.listening("bo", 0) as other:
        assert await hears_nothing(listener)
        await stored(database, 3)
        assert await hears_nothing(listener)

        await broadcaster.look_around()

        assert await heard(listener, 3) == [1, 2, 3]
        assert await hears_nothing(other)


async def test_looking_around_with_nobody_there_finds_nothing(broadcaster):
    await broadcaster.look_around()


async def test_more_than_a_queue_is_read_from_the_store_bit_by_bit(database, broadcaster):
    await stored(database, 3 * QUEUE)
    with broadcaster.listening("ada", 0) as listener:
        assert await heard(listener, 3 * QUEUE) == list(range(1, 3 * QUEUE + 1))


async def test_who_has_much_to_read_is_not_slow_for_what_happens_meanwhile(database, broadcaster):
    for missed in (QUEUE - 1, 2 * QUEUE):
        last = (await stored(database, missed))[-1].seq
        with broadcaster.listening("ada", last - missed) as listener:
            assert await heard(listener, 1) == [last - missed + 1]
            announce(broadcaster, await stored(database, QUEUE))
            assert await heard(listener, missed + QUEUE - 1) == list(range(last - missed + 2, last + QUEUE + 1))
            assert await is_kept(listener)


async def is_kept(listener: Listener) -> bool:
    with anyio.move_on_after(0.01) as scope:
        await listener.overflow()
    return scope.cancelled_caught


async def test_who_does_not_keep_up_is_let_go_and_what_waits_for_them_is_bounded(database, broadcaster):
    with broadcaster.listening("ada", 0) as slow, broadcaster.listening("ada", 0) as fast:
        for listener in (slow, fast):
            assert await hears_nothing(listener)
        for event in await stored(database, 10 * QUEUE):
            announce(broadcaster, [event])
            await heard(fast, 1)

        assert len(slow._queue) == QUEUE
        with pytest.raises(TooSlow):
            await slow.overflow()
        assert await is_kept(fast)


async def test_what_retention_took_is_not_waited_for(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener:
        assert await hears_nothing(listener)
        old = await stored(database, 3, at=NOW - timedelta(days=9))
        new = await stored(database, 2)
        async with database.writing() as transaction:
            await events.prune(transaction, NOW - timedelta(days=7))
        announce(broadcaster, [old[0], new[1]])

        assert await heard(listener, 3) == [1, 4, 5]


async def test_all_of_it_taken_by_retention_leaves_the_listener_waiting(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener:
        await stored(database, 3, at=NOW - timedelta(days=9))
        async with database.writing() as transaction:
            await events.prune(transaction, NOW)
        assert await hears_nothing(listener)
        announce(broadcaster, await stored(database, 1))
        assert await heard(listener, 1) == [4]


async def test_looked_for_while_reading_is_looked_for_again(database, broadcaster):
    with broadcaster.listening("ada", 0) as listener:
        assert await hears_nothing(listener)
        async with anyio.create_task_group() as group:
            got: list[int] = []

            async def listen() -> None:
                got.extend(await heard(listener, 6))

            group.start_soon(listen)
            for _ in range(6):
                await stored(database, 1)
                await broadcaster.look_around()
        assert got == [1, 2, 3, 4, 5, 6]
