"""A call key finds its call as long as the call lives, whatever the store forgets."""

from __future__ import annotations

import asyncio
from unittest.mock import AsyncMock, patch

import pytest

from tests.call.calls import new_call
from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import (
    GIVEN_UP_S,
    CountingObserver,
    rig,
    until_given_up,
)
from tests.waiting import until
from voice_agent.errors import StoreUnavailable
from voice_agent.runtime.durability.call_keys import KEEP_AGAIN_S, CallKeys
from voice_agent.stores.memory import MemoryStore

KEY, OTHER_KEY, THIRD_KEY = "k" * 64, "l" * 64, "m" * 64
BIND_FAILED = ("store_failed", "bind_call_key")
KEY = "k" * 64


async def turns() -> None:
    """Let everybody have some of the event loop."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_key_is_bound_again_now_and_then_and_not_twice_at_once() -> None:
    """However often somebody looks, and however long the store takes; what fails is counted and tried again."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock, ttl_s=60)
        caller = await its.start(pod, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        answer = asyncio.Event()

        async def answered(*_: str) -> str:
            await answer.wait()
            return caller.call_id

        with patch.object(store, "bind_call_key", AsyncMock(side_effect=answered)) as bind:
            clock.leap(20)
            for _ in range(3):
                await pod.upkeep.look_after_calls()
                await turns()
            pod.owned.keep_key(live)
            await turns()
            assert bind.call_count == 1
            answer.set()
            await until(lambda: not pod.owned.call_keys._keeping)
            await pod.upkeep.look_after_calls()
            await turns()
            assert bind.call_count == 1
        with patch.object(store, "bind_call_key", side_effect=[StoreUnavailable("lost"), caller.call_id]) as bind:
            clock.leap(20)
            await pod.upkeep.look_after_calls()
            await until(lambda: bind.call_count == 1)
            clock.leap(20)
            await until(lambda: bind.call_count == 2)
        assert pod.observer.counts[BIND_FAILED] == 1  # type: ignore[attr-defined]


async def test_the_key_of_a_call_that_is_no_longer_this_pods_is_left_alone() -> None:
    """Its owner keeps it; it is not tried again for a call that has gone while the store was away."""
    clock, store, is_ours = LeapingClock(), FaultyStore(), [False, True]
    keys = CallKeys(store, clock, CountingObserver())
    with patch.object(store, "bind_call_key", side_effect=StoreUnavailable("lost")) as bind:
        keys.keep(new_call(), is_ours.pop)
        await until(lambda: bind.call_count == 1)
        clock.leap(KEEP_AGAIN_S)
        await until(lambda: not keys._keeping)
    assert (bind.call_count, is_ours) == (1, [])


async def test_a_fault_of_ours_is_not_tried_again() -> None:
    """Only a store may be well again in a second."""
    keys, call = CallKeys(store := FaultyStore(), LeapingClock(), CountingObserver()), new_call()
    with patch.object(store, "bind_call_key", side_effect=ValueError("a defect")) as bind:
        keys.keep(call, lambda: True)
        with pytest.raises(ValueError, match="defect"):
            await keys._keeping[call.call_id]
    assert bind.call_count == 1


async def test_a_call_key_lives_as_long_as_its_call() -> None:
    """Used once, at the start of a call that lasts for several times the TTL, it still finds the call."""
    clock = LeapingClock()
    store = MemoryStore(ttl_s=60, now_s=clock.monotonic_s)
    async with rig(store) as its:
        blue, green = await its.pod("blue", ttl_s=60, clock=clock), await its.pod("green", clock=clock)
        caller = await its.start(blue, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        for _ in range(8):
            clock.leap(25)
            await blue.upkeep.look_after_calls()
        await caller.gone()
        again = await its.start(green, call_key_hash=KEY, resumable=True)
        assert again.call_id == caller.call_id
        assert (await again.greeting())["session"]["call"]["resumed"] is True


async def test_a_store_that_comes_back_empty_is_told_the_call_keys() -> None:
    """With the record alone a caller who knows nothing but his key would get another call."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green")
        caller = await its.start(blue, call_key_hash=KEY, resumable=True)
        await caller.greeting()
        store.is_away = True
        await until_given_up(blue, clock, caller)
        store._calls.clear()
        store._keys.clear()
        store.is_away = False
        await until(lambda: not blue.committer.write_back.is_behind)
        await caller.gone()
        again = await its.start(green, call_key_hash=KEY, resumable=True)
        assert again.call_id == caller.call_id


async def test_a_call_key_that_could_not_be_bound_is_bound_later() -> None:
    """It is asked for until the store has it: lost answers at the start do not cost the caller the way back."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green")
        with patch.object(store, "bind_call_key", side_effect=StoreUnavailable("lost")) as bind:
            caller = await its.start(blue, call_key_hash=KEY, resumable=True)
            await caller.greeting()
            await until(lambda: bind.call_count == 2)
            store._keys.clear()
        clock.leap(GIVEN_UP_S)
        await until(lambda: KEY in store._keys)
        await caller.gone()
        again = await its.start(green, call_key_hash=KEY, resumable=True)
        assert again.call_id == caller.call_id
