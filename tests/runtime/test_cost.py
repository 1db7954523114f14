"""What a turn and a resume cost, and that neither grows with the length of the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from statistics import median, quantiles
from typing import Any

import redis.asyncio

from tests.runtime.rig import ANSWER, TYPED, Caller, Rig, rig
from voice_agent.call.changes import CallWrite
from voice_agent.stores.base import Claim, Claimed, NotClaimed, WriteOutcome
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore

YOUNG = 10
OLD = 1000
COMPARED = 100


async def turn(caller: Caller, number: int) -> None:
    """One typed question and its spoken answer."""
    caller.transport.say(TYPED)
    caller.transport.say(ANSWER)
    await caller.transport.event("response.done")
    caller.transport.events.clear()


async def grown(its: Rig, turns: int) -> Caller:
    """A call so many turns old."""
    caller = await its.start(its.pods[0])
    await caller.greeting()
    for number in range(turns):
        await turn(caller, number)
    return caller


async def test_turn_one_thousand_costs_what_turn_ten_does(redis_url: str, capsys: Any) -> None:
    """Bytes to the store within a tenth, CPU too: young and old calls take turns, so that noise strikes both."""
    store = RedisStore(redis_url, ttl_s=60)
    watch = redis.asyncio.Redis.from_url(redis_url)
    async with rig(store) as its:
        await its.pod(outbox_bytes=200_000)
        old = await grown(its, OLD)
        costs: dict[str, list[tuple[float, int]]] = {"old": [], "young": []}
        young = await grown(its, YOUNG)
        for number in range(2 * COMPARED):
            if number % 20 == 0:
                young = await grown(its, YOUNG)
            name, caller = (("old", old), ("young", young))[number % 2]
            before_bytes, before_s = await _received_bytes(watch), time.process_time()
            await turn(caller, number)
            cpu_s = time.process_time() - before_s
            costs[name].append((cpu_s, await _received_bytes(watch) - before_bytes))
        # The tenth that noise struck least: whatever grows with the call is in every turn.
        cpu = {name: quantiles((cpu_s for cpu_s, _ in pairs), n=10)[0] for name, pairs in costs.items()}
        size = {name: median(size for _, size in pairs) for name, pairs in costs.items()}
        with capsys.disabled():
            print(
                f"\n  a turn, at turn {YOUNG}-{YOUNG + 20} and at turn {OLD}-{OLD + COMPARED}: "
                f"{size['young']:.0f} and {size['old']:.0f} bytes to the store, "
                f"{cpu['young'] * 1e6:.0f} and {cpu['old'] * 1e6:.0f} us of CPU"
            )
        assert size["old"] <= 1.1 * size["young"]
        assert cpu["old"] <= 1.1 * cpu["young"]
    await watch.aclose()
    await store.close()


async def _received_bytes(watch: redis.asyncio.Redis) -> int:
    return int((await watch.info("stats"))["total_net_input_bytes"])


class AskedStore(MemoryStore):
    """Notes what it is asked; writes wait while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__(ttl_s=60)
        self.asked: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
        self.asked.append("commit")
        await self.gate.wait()
        return await super().commit(writes)

    async def claim(self, claim: Claim) -> Claimed | NotClaimed:
        self.asked.append("claim")
        return await super().claim(claim)


async def test_a_resume_elsewhere_takes_one_round_trip() -> None:
    """The claim brings everything: the replay waits for no other answer of the store."""
    store = AskedStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, resumable=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        await caller.gone()
        store.asked.clear()
        store.gate.clear()
        again = await its.resume(green, caller.call_id, 0)
        replayed = await again.transport.event("conversation.item.added")
        assert replayed["event_id"] == "evt_1"
        assert store.asked[0] == "claim"
        assert store.asked.count("claim") == 1
        store.gate.set()
        await again.gone(1000)
