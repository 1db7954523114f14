"""What a claim finds, and what becomes of one whose answer is lost."""

from __future__ import annotations

import asyncio
import threading
from unittest.mock import patch

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import (
    ANSWER,
    TYPED,
    ScriptedAgent,
    rig,
)
from voice_agent.call.beginnings import Beginning, begin
from voice_agent.call.inputs import AppendAudio, VoiceBoundary
from voice_agent.call.record import CallRecord
from voice_agent.call.status import Status
from voice_agent.errors import ConnectionRefused, StoreUnavailable
from voice_agent.runtime.durability import claims
from voice_agent.runtime.ports import ResumeCall
from voice_agent.stores.base import Claim, Claimed, NotClaimed


async def test_a_claim_without_an_answer_takes_no_call_while_the_store_is_well_otherwise() -> None:
    """It may have taken effect: the caller is told to come again, and the call goes on as it was."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        with (
            patch.object(store, "claim", side_effect=StoreUnavailable("lost")),
            pytest.raises(ConnectionRefused) as refusal,
        ):
            await its.resume(pod, caller.call_id, 0)
        assert (refusal.value.status, refusal.value.code) == (503, "store_unavailable")
        assert pod.observer.counts["store_failed", "claim"] == 1  # type: ignore[attr-defined]
        assert not live.writer.in_doubt
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert caller.transport.closed is None


async def test_a_claim_whose_answer_was_lost_counts_once() -> None:
    """Asked for again it is the same one: nobody else had the call in between, and memory goes on."""
    store = FaultyStore()
    claim = store.claim

    async def answer_is_lost(asked: Claim) -> Claimed | NotClaimed:
        await claim(asked)
        raise StoreUnavailable("lost")

    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        with patch.object(store, "claim", answer_is_lost), pytest.raises(ConnectionRefused):
            await its.resume(pod, caller.call_id, 0)
        again = await its.resume(pod, caller.call_id, 0)
        assert pod.owned.by_id[caller.call_id] is live
        assert (await again.greeting())["session"]["call"]["epoch"] == 2


async def test_a_call_that_the_store_has_lost_is_written_whole_at_once() -> None:
    """What it asks for first is not what is new since."""
    store = FaultyStore()
    claim = store.claim

    async def lost_meanwhile(asked: Claim) -> Claimed | NotClaimed:
        store._calls.clear()
        return await claim(asked)

    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        with patch.object(store, "claim", lost_meanwhile):
            taken = await pod.connector.ownership.take_over(
                caller.call_id, ResumeCall(caller.call_id), api_key_hash=None
            )
        assert taken.live is live  # type: ignore[union-attr]
        assert live.call.owner.epoch == 2
        assert live.call.record.write_whole
        await pod.committer.flush(live.writer)
        held = await store.load(caller.call_id)
        assert held is not None
        assert held.fields["epoch"] == b"2"


async def test_time_in_which_a_dead_pod_spoke_to_nobody_is_not_counted_as_heard() -> None:
    """A pod that died noted no leaving; what its caller had heard ends with its last write."""
    clock, agent = LeapingClock(), ScriptedAgent(chunks=20)
    agent.may_go_on.clear()
    async with rig(None, agent) as its:
        blue, green = await its.pod("blue", clock=clock), await its.pod("green", clock=clock)
        caller = await its.start(blue, resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio.delta")
        for task in blue._tasks.running:
            task.cancel()
        await asyncio.gather(*blue._tasks.running, return_exceptions=True)
        clock.leap(30)
        agent.may_go_on.set()
        again = await its.resume(green, caller.call_id)
        await again.transport.event("response.done")
        clock.leap(0.3)
        live = green.owned.by_id[caller.call_id]
        assert live.call.lifecycle.status is Status.ATTACHED
        live.feed(AppendAudio(bytes(960), None, (VoiceBoundary(True, 0),)))
        truncated = await again.transport.event("conversation.item.truncated")
        assert 300 <= truncated["audio_end_ms"] < 2000


async def test_a_long_conversation_is_read_beside_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other calls go on while twenty thousand items are; a short one is read at once."""
    threads: list[threading.Thread] = []

    def noted(beginning: Beginning) -> CallRecord:
        threads.append(threading.current_thread())
        return begin(beginning)

    monkeypatch.setattr(claims, "begin", noted)
    monkeypatch.setattr(claims, "LONG_CONVERSATION", 2)
    async with rig() as its:
        blue, green = await its.pod(), await its.pod("pod-b", "green")
        for items in (2, 3):
            caller = await its.start(blue, resumable=True)
            for number in range(1, items + 1):
                caller.transport.say(TYPED)
                await caller.transport.event("conversation.item.done", number)
            await caller.gone()
            again = await its.resume(green, caller.call_id, 0)
            await again.transport.event("conversation.item.done", items)
            assert len(green.owned.by_id[caller.call_id].call.conversation) == items
    assert [thread is threading.main_thread() for thread in threads] == [True, False]
