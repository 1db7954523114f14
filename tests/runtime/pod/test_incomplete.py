"""A store that loses a part of a call: the caller is told, and nothing is lost that a pod still has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.runtime.rig import TYPED, Caller, Rig, rig
from tests.waiting import until
from voice_agent.call.completeness import missing
from voice_agent.runtime.pod.pod import Pod
from voice_agent.stores.base import Store
from voice_agent.stores.memory import MemoryStore
from voice_agent.stores.redis import RedisStore

KEYS = {"items": "items", "outbox": "out", "speech": "in"}


@pytest.fixture(params=["memory", "redis"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    """In this process, and a real server."""
    if request.param == "memory":
        yield MemoryStore(ttl_s=60)
        return
    made = RedisStore(request.getfixturevalue("redis_url"), ttl_s=60)
    yield made
    await made.close()


async def evict(store: Store, call_id: str, part: str) -> None:
    """One key of a call is gone."""
    if isinstance(store, RedisStore):
        client: Any = store._redis
        assert await client.delete(f"call:{{{call_id}}}:{KEYS[part]}") == 1
    else:
        assert isinstance(store, MemoryStore)
        getattr(store._calls[call_id], part).clear()


async def typed(its: Rig, pod: Pod, *, times: int = 3, **session: Any) -> Caller:
    """A caller who has typed something; all of it is durable."""
    caller = await its.start(pod, resumable=True)
    if session:
        caller.transport.say({"type": "session.update", "session": {"type": "realtime", **session}})
    for _ in range(times):
        caller.transport.say(TYPED)
    await caller.transport.event("conversation.item.done", times)
    return caller


def gap(greeting: dict[str, Any]) -> Any:
    """What the store has no more, as the caller is told."""
    return greeting["session"]["call"]["gap"]


async def test_a_caller_is_told_of_items_that_are_gone(store: Store) -> None:
    """Once, with a line in the log and a count; what is left goes on, and is whole from then on."""
    async with rig(store) as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        caller = await typed(its, blue)
        seen = len(caller.transport.ids)
        await evict(store, caller.call_id, "items")
        with capture_logs() as logs:
            second = await its.resume(green, caller.call_id, seen)
            assert gap(await second.greeting()) == {"from": None, "to": None, "items": 3}
        (line,) = [line for line in logs if "lost a part" in line["event"]]
        assert (line["log_level"], line["items"], line["events"], line["speech"]) == ("warning", 3, 0, 0)
        counts = green.observer.counts  # type: ignore[attr-defined]
        assert [part for name, part in counts if name == "call_incomplete"] == ["items"]
        second.transport.say(TYPED)
        await second.transport.event("conversation.item.done")
        held = await store.load(caller.call_id)
        assert held is not None
        assert (missing(held), len(held.items)) == ((0, 0, 0), 1)
        third = await its.resume(blue, caller.call_id, seen)
        assert gap(await third.greeting()) is None
        await third.transport.event("conversation.item.done")


async def test_events_that_are_gone_are_named_to_a_client_that_missed_them(store: Store) -> None:
    """And only to it: who has seen them all has lost nothing."""
    async with rig(store) as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        for missed, told in ((2, True), (0, False)):
            caller = await typed(its, blue)
            seen = len(caller.transport.ids)
            await evict(store, caller.call_id, "outbox")
            second = await its.resume(green, caller.call_id, seen - missed)
            expected = {"from": f"evt_{seen - 1}", "to": f"evt_{seen}"} if told else None
            assert gap(await second.greeting()) == expected
        assert green.observer.counts["call_incomplete", "events"] == 2  # type: ignore[attr-defined]


async def test_a_caller_whose_words_are_gone_is_asked_for_them_again(store: Store) -> None:
    """`input_audio_ms` is where the lost utterance began."""
    manual = {"audio": {"input": {"turn_detection": None}}}
    async with rig(store) as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        caller = await typed(its, blue, times=1, **manual)
        second_of_audio = "AAAA" * 16000
        caller.transport.say({"type": "input_audio_buffer.append", "audio": second_of_audio})

        async def is_stored() -> bool:
            held = await store.load(caller.call_id)
            return held is not None and sum(len(entry.audio) for entry in held.speech) == 48000

        await until(is_stored)
        await evict(store, caller.call_id, "speech")
        second = await its.resume(green, caller.call_id, len(caller.transport.ids))
        greeting = await second.greeting()
        assert greeting["session"]["call"]["input_audio_ms"] == 0
        assert gap(greeting)["speech"] > 0


@pytest.mark.parametrize("part", ["items", "outbox"])
async def test_what_a_pod_still_has_is_written_again(store: Store, part: str) -> None:
    """The owner's next write finds the part missing; nothing is lost, and nobody is told anything."""
    async with rig(store) as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        caller = await typed(its, blue)
        await evict(store, caller.call_id, part)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done", 4)
        second = await its.resume(green, caller.call_id, 0)
        assert gap(await second.greeting()) is None
        await second.transport.event("conversation.item.done", 4)
        assert len(green.owned.by_id[caller.call_id].call.conversation) == 4


async def test_a_call_without_a_record_is_unknown_whatever_is_left_of_it(redis_url: str) -> None:
    """404, and its key starts a new call."""
    store = RedisStore(redis_url, ttl_s=60)
    async with rig(store) as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        caller = await its.start(blue, call_key_hash="hash")
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        client: Any = store._redis
        await client.delete(f"call:{{{caller.call_id}}}")
        other = await its.start(green, call_key_hash="hash")
        assert other.call_id != caller.call_id
        assert (await other.greeting())["session"]["call"]["resumed"] is False
    await store.close()
