"""Cancelling a task at one of its awaits, whichever a test says: the first, the second, and so on to the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any


class Cut:
    """Awaits `work`, and cancels its own task the moment it waits for the `at`-th time, counted from 0.

    With `times` it does so again at the awaits that follow: whoever cleans up is cancelled, too.
    """

    def __init__(self, work: Awaitable[Any], at: int, times: int = 1) -> None:
        self._work = work
        self._at = range(at, at + times)
        self.waited = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        send: Callable[[], Any] = lambda: next(steps)  # noqa: E731
        while True:
            try:
                waits_for = send()
            except StopIteration as end:
                return end.value
            if self.waited in self._at:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            self.waited += 1
            try:
                given = yield waits_for
            except BaseException as raised:  # noqa: BLE001  - handed on to where it belongs
                send = _thrower(steps, raised)
            else:
                send = _sender(steps, given)


def _thrower(steps: Any, raised: BaseException) -> Callable[[], Any]:
    return lambda: steps.throw(raised)


def _sender(steps: Any, given: Any) -> Callable[[], Any]:
    return lambda: steps.send(given)


async def cut(work: Callable[[], Awaitable[Any]], at: int, times: int = 1) -> bool:
    """Do `work` in a task of its own, cancelled at its `at`-th await; False where it has no such await."""
    cutting = Cut(work(), at, times)

    async def whole() -> Any:
        return await cutting

    await asyncio.gather(asyncio.ensure_future(whole()), return_exceptions=True)
    return cutting.waited > at
