"""The store may fail: attached calls go on, and are written back when it returns, even empty."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.runtime.rig import ANSWER, TYPED, rig
from tests.servers import RedisServer, redis_server
from tests.waiting import PATIENCE_S, until
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ResumeCall
from voice_agent.stores.redis import RedisStore


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A real server of this test's own, without persistence: a restart is a loss of everything."""
    with redis_server() as own:
        yield own


async def until_degraded(pod: Pod, *, is_degraded: bool) -> None:
    """Wait until the pod's health says so."""
    await until(lambda: (pod.status().status == "degraded") is is_degraded)


async def test_a_call_goes_on_through_an_outage_and_is_written_back(server: RedisServer) -> None:
    """Turns during the outage are heard and answered; afterwards the empty store holds all of the call."""
    store = RedisStore(server.url, ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        server.stop()
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done")
        await until_degraded(pod, is_degraded=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done", 3)
        fresh = await its.start(pod)
        assert (await fresh.greeting())["event_id"] == "evt_0"
        with pytest.raises(ConnectionRefused) as refusal:
            await pod.resume(ResumeCall("call_" + "e" * 26))
        assert (refusal.value.status, refusal.value.retry_after_s) == (503, 1)
        server.start()
        await until_degraded(pod, is_degraded=False)
        async with asyncio.timeout(PATIENCE_S):
            while (held := await store.load(caller.call_id)) is None:
                await asyncio.sleep(0.02)
        assert len(held.items) == 3
        assert [entry.n for entry in held.outbox] == list(range(1, len(caller.transport.ids) + 1))
        assert caller.transport.ids == [f"evt_{entry.n}" for entry in held.outbox]
    await store.close()


async def test_a_flushed_store_gets_its_calls_back(server: RedisServer) -> None:
    """FLUSHALL under a live call: the next write finds it unknown and writes all of it."""
    store = RedisStore(server.url, ttl_s=60)
    async with rig(store) as its:
        one, two = await its.pod("a"), await its.pod("b")
        caller = await its.start(one)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        await store._redis.flushall()
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done", 2)
        second = await its.resume(two, caller.call_id, 0)
        await second.transport.event("conversation.item.done", 2)
        assert second.transport.ids == caller.transport.ids
    await store.close()


async def test_a_write_back_yields_to_a_newer_owner(server: RedisServer) -> None:
    """The zombie's whole write is fenced like any other."""
    store = RedisStore(server.url, ttl_s=60)
    async with rig(store) as its:
        one, two = await its.pod("a"), await its.pod("b")
        first = await its.start(one)
        await first.greeting()
        live = one.owned.by_id[first.call_id]
        second = await its.resume(two, first.call_id, 0)
        await second.greeting()
        live.writer.requeue_whole([])
        one.committer.mark(live.writer)
        assert (await first.transport.until(lambda it: it.closed))[0] == 4409
        held = await store.load(first.call_id)
        assert held is not None
        assert held.fields["owner"] == b"b"
    await store.close()


async def test_a_dropped_caller_resumes_on_the_same_pod_during_an_outage(server: RedisServer) -> None:
    """Losing the store does not lose a live call: its own pod goes on from memory."""
    store = RedisStore(server.url, ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod()
        first = await its.start(pod)
        first.transport.say(TYPED)
        await first.transport.event("conversation.item.done")
        server.stop()
        first.transport.say(TYPED)
        await first.transport.event("conversation.item.done", 2)
        await until_degraded(pod, is_degraded=True)
        await first.gone()
        second = await its.resume(pod, first.call_id, 2)
        await second.transport.event("conversation.item.done")
        assert second.transport.ids == ["evt_3", "evt_4"]
    await store.close()
