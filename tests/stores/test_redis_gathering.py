"""What is asked at about the same time goes together, and what becomes of one is nobody else's affair."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.waiting import until
from voice_agent.call.changes import CallWrite
from voice_agent.stores.base import Claim, Claimed
from voice_agent.stores.redis import RedisStore
from voice_agent.stores.redis_gathering import AT_ONCE, GatheredRuns, Question

MANY = 40


class Server:
    """Answers each question with its first key, once it may."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        """How many questions came together, each time."""
        self.errors: list[Exception] = []
        self.answers = asyncio.Event()

    async def run_all(self, runs: list[Question]) -> list[Any]:
        """See `GatheredRuns`."""
        self.asked.append(len(runs))
        await self.answers.wait()
        if self.errors:
            raise self.errors.pop()
        return [keys[0] for keys, _ in runs]


def asks(gathered: GatheredRuns, name: str) -> asyncio.Task[Any]:
    """Somebody who asks."""
    return asyncio.create_task(gathered.ask(([name], [])))


async def test_who_asks_while_others_are_asked_goes_next_together() -> None:
    """And each gets its own answer."""
    server = Server()
    gathered = GatheredRuns(server.run_all)
    first = asks(gathered, "first")
    await until(lambda: server.asked == [1])
    others = [asks(gathered, f"{number}") for number in range(AT_ONCE + 1)]
    server.answers.set()
    assert await asyncio.gather(first, *others) == ["first", *(f"{number}" for number in range(AT_ONCE + 1))]
    assert server.asked == [1, AT_ONCE, 1]
    assert await gathered.ask((["later"], [])) == "later"


async def test_what_is_raised_concerns_those_that_went_together() -> None:
    """Whoever asked meanwhile is asked for all the same."""
    server = Server()
    gathered = GatheredRuns(server.run_all)
    server.errors = [ConnectionError("lost")]
    together = [asks(gathered, "a"), asks(gathered, "b")]
    await until(lambda: server.asked == [2])
    after = asks(gathered, "c")
    server.answers.set()
    for each in together:
        with pytest.raises(ConnectionError):
            await each
    assert await after == "c"
    assert server.asked == [2, 1]


async def test_who_left_meanwhile_is_not_asked_for() -> None:
    """One that left while it was asked for keeps no answer from the others."""
    server = Server()
    gathered = GatheredRuns(server.run_all)
    leaves, stays = asks(gathered, "leaves"), asks(gathered, "stays")
    await until(lambda: server.asked == [2])
    waits, last = asks(gathered, "waits"), asks(gathered, "last")
    await asyncio.sleep(0)
    leaves.cancel()
    waits.cancel()
    server.answers.set()
    assert [await stays, await last] == ["stays", "last"]
    assert server.asked == [2, 1]


async def test_when_the_event_loop_ends_nobody_waits_for_ever() -> None:
    """Neither those that are asked for nor those behind them."""
    server = Server()
    gathered = GatheredRuns(server.run_all)
    asked = asks(gathered, "asked")
    await until(lambda: server.asked == [1])
    waits = asks(gathered, "waits")
    await asyncio.sleep(0)
    [asking] = [task for task in asyncio.all_tasks() if task.get_name() == "gathered"]
    asking.cancel()
    await asyncio.wait([asked, waits, asking])
    assert asked.cancelled()
    assert waits.cancelled()


async def test_many_claims_at_once_share_a_connection(redis_url: str) -> None:
    """A pod that has just started has no other, and making one costs more than a claim."""
    store = RedisStore(redis_url, ttl_s=10)
    await store.commit([CallWrite(f"call_{number}", 1, 1, "made", whole=True) for number in range(MANY)])
    claims = [Claim(f"call_{number}", "pod-b", "green", 5, name=f"{number}") for number in range(MANY)]
    claimed = await asyncio.gather(*map(store.claim, claims))
    assert [each.epoch for each in claimed if isinstance(each, Claimed)] == [2] * MANY
    clients: Any = store._redis
    assert len(await clients.client_list()) == 1
    await store.close()
