"""What ended calls may keep in the store."""

from __future__ import annotations

import pytest

from tests.runtime.calls.test_long_messages import DrivenCall, driven_call
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import CountingObserver, parking_of, rig
from tests.waiting import until
from voice_agent.errors import ConnectionRefused, StoreRefused
from voice_agent.runtime.budget import FLOOR_BYTES
from voice_agent.runtime.pod.ended import EndedCalls
from voice_agent.runtime.pod.pod import Pod

KIB = 1024
MIB = 1024 * KIB
PAGE = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "x" * 200 * KIB}] * 2}


async def hung_up(pod: Pod, pages: int, **request: str) -> DrivenCall:
    """A call with so many items of 400 KiB that has ended."""
    caller = await driven_call(pod, **request)
    for _ in range(pages):
        await caller.say({"type": "conversation.item.create", "item": PAGE})
    caller.live.finish("hangup")
    await pod.committer.flush(caller.live.writer)
    await until(lambda: caller.attachment.call_id not in pod.owned.by_id)
    return caller


async def is_kept(pod: Pod, caller: DrivenCall) -> bool:
    """Whether the store has what was said."""
    held = await pod.ports.store.load(caller.attachment.call_id)
    assert held is not None
    return bool(held.items)


async def test_conversations_of_a_keys_ended_calls_take_no_more_than_they_may() -> None:
    """The oldest is erased first, those of another key stay, and a resume of it is told that it has ended."""
    async with rig() as its:
        pod = await its.pod()
        pod.owned.ended.limit_bytes = 2 * MIB
        oldest, newer, newest = [await hung_up(pod, 2) for _ in range(3)]
        other = await hung_up(pod, 2, api_key_hash="other")
        await parking_of(pod).enforce()
        assert [await is_kept(pod, caller) for caller in (oldest, newer, newest, other)] == [False, True, True, True]
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "ended_bytes"] == 1
        with pytest.raises(ConnectionRefused) as refused:
            await its.resume(pod, oldest.attachment.call_id, 0)
        assert refused.value.status == 410


async def test_filling_and_hanging_up_fills_no_store() -> None:
    """Forty times: what stays is what one key's ended calls may take."""
    async with rig() as its:
        pod = await its.pod()
        pod.owned.ended.limit_bytes = 2 * MIB
        parking = parking_of(pod)
        callers = []
        for _ in range(40):
            callers.append(await hung_up(pod, 1))
            await parking.enforce()
        assert [await is_kept(pod, caller) for caller in callers] == [False] * 35 + [True] * 5


async def test_while_the_store_is_away_nothing_is_given_up() -> None:
    """It is erased when the store is back."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        pod.owned.ended.limit_bytes = MIB
        caller = await hung_up(pod, 3)
        parking = parking_of(pod)
        store.is_away = True
        await parking.enforce()
        store.is_away = False
        assert await is_kept(pod, caller)
        await parking.enforce()
        assert not await is_kept(pod, caller)


async def test_one_that_cannot_be_erased_does_not_stand_before_the_others() -> None:
    """What the store refuses of one call it would refuse again and again: it runs out by itself."""

    class Refusing(FaultyStore):
        refuses = ""

        async def erase(self, call_id: str, now_ms: int) -> bool:
            if call_id == self.refuses:
                raise StoreRefused("WRONGTYPE")
            return await super().erase(call_id, now_ms)

    store = Refusing()
    async with rig(store) as its:
        pod = await its.pod()
        pod.owned.ended.limit_bytes = MIB
        first, second = [await hung_up(pod, 3) for _ in range(2)]
        store.refuses = first.attachment.call_id
        await parking_of(pod).enforce()
        assert [await is_kept(pod, caller) for caller in (first, second)] == [True, False]
        assert isinstance(pod.observer, CountingObserver)
        assert pod.observer.counts["limit_reached", "ended_bytes"] == 1


def test_small_and_forgotten_conversations_do_not_count() -> None:
    """Many short calls take nobody's place; what the store has let go of takes none."""
    ended = EndedCalls(MIB)
    for number in range(100):
        ended.add(f"small-{number}", "key", FLOOR_BYTES, 10.0)
    assert ended.surplus(0.0) is None
    ended.add("first", "key", MIB, 10.0)
    assert ended.surplus(9.0) is None
    ended.add("second", "key", MIB, 20.0)
    assert ended.surplus(9.0) == "first"
    assert ended.surplus(10.0) is None


def test_a_call_that_ends_twice_counts_once() -> None:
    """As it was at its last end; and of a key whose calls are all gone nothing is kept."""
    ended = EndedCalls(MIB)
    ended.add("call", "key", MIB, 10.0)
    ended.add("call", "key", MIB, 20.0)
    assert ended.surplus(15.0) is None
    ended.add("other", "key", MIB, 30.0)
    assert ended.surplus(15.0) == "call"
    ended.remove("call")
    ended.remove("call")
    assert ended.surplus(15.0) is None
    ended.remove("other")
    assert not ended._by_key
