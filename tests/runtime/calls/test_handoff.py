"""Letting calls go, and taking them up again, when something else happens at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import TYPED, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.changes import Snapshot
from voice_agent.call.closing import CloseCode
from voice_agent.call.drain import DrainMode
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.durability.write_back import MAX_PROBE_S
from voice_agent.runtime.pod.attachment import Attachment
from voice_agent.runtime.ports import ResumeCall
from voice_agent.stores.base import Claim, Claimed, DrainRequest, NotClaimed
from voice_agent.stores.memory import MemoryStore


def pod_of(held: Snapshot | None) -> bytes:
    """Whose the call is, as the store knows it."""
    assert held is not None
    return held.fields["owner"]


def item(number: int) -> dict[str, Any]:
    """A typed item with an id."""
    content = [{"type": "input_text", "text": "hi"}]
    made = {"type": "message", "role": "user", "id": f"mine_{number}", "content": content}
    return {"type": "conversation.item.create", "item": made}


async def test_a_handoff_that_the_store_prevents_drops_nothing_of_what_is_said() -> None:
    """The connection stays open after all, so whatever came meanwhile has to be taken."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        store.is_away = True
        handoff = asyncio.create_task(live.hand_off())
        said = 0
        while not handoff.done():
            caller.transport.say(item(said))
            said += 1
            await asyncio.sleep(0.002)
        assert caller.transport.closed is None
        await caller.transport.event("conversation.item.done", said)
        done = [e["item"]["id"] for e in caller.transport.events if e["type"] == "conversation.item.done"]
        assert done == [f"mine_{number}" for number in range(said)]


@pytest.mark.parametrize("force", [False, True])
async def test_a_call_that_has_just_ended_is_closed_as_such(force: bool) -> None:
    """Its client gets the last events and learns that it is over: no other pod would tell it."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        handing_off = asyncio.create_task(live.hand_off(force=force))
        await asyncio.sleep(0)
        live.finish("agent", CloseCode.NORMAL_CLOSURE, "over")
        assert not await live.hand_off(force=force)
        assert not await handing_off
        await caller.transport.until(lambda it: it.closed)
        assert caller.transport.closed == (CloseCode.NORMAL_CLOSURE, "over")


async def test_a_call_whose_write_is_rejected_stays_where_it_is() -> None:
    """Neither handed off nor let go from memory: elsewhere less would be known of it. Once it is written, both."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        store.rejects.add(caller.call_id)
        await live.hand_off()
        assert caller.transport.closed is None
        caller.transport.say(item(1))
        await caller.transport.event("conversation.item.done")
        await caller.gone()
        await pod.owned.unload(live)
        assert pod.owned.by_id == {caller.call_id: live}
        assert pod.committer.lacks(live.writer)
        store.rejects.clear()
        clock.leap(MAX_PROBE_S + 0.1)
        await until(lambda: not pod.committer.lacks(live.writer))
        await pod.owned.unload(live)
        assert pod.owned.by_id == {}


@pytest.mark.parametrize("code", [1011, 1012, 1013])
async def test_a_hang_up_that_crosses_a_close_ends_the_call(code: int) -> None:
    """It came before the pod's close was sent; parked, the call would be counted as dropped later."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        connection = pod.owned.by_id[caller.call_id].connection
        assert connection is not None
        caller.transport.drop(1000)
        connection.close(code)
        assert not caller.task.done()
        await caller.task
        held = await its.store.load(caller.call_id)
        assert held is not None
        assert held.fields["status"] == b"ended"


@pytest.mark.parametrize("code", [1011, 1012, 1013])
async def test_only_a_handoff_is_one(code: int) -> None:
    """A call that was closed for another reason and is never fetched was not dropped by a deploy."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        assert live.connection is not None
        live.connection.close(code)
        await caller.task
        assert live.call.lifecycle.handed_off is (code == 1012)


async def test_a_request_to_a_color_gives_way_to_what_was_asked_of_the_pod() -> None:
    """Taken back, prolonged or of an unknown mode, it does not touch a drain of this very pod."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await its.store.request_drain("blue", DrainRequest("evacuate", 600, 1))
        await pod.heartbeat.heartbeat()
        assert pod.draining
        assert pod.drains_as_requested
        pod.drain(DrainMode.FINISH, 600)
        await its.store.request_drain("blue", None)
        await pod.heartbeat.heartbeat()
        assert pod.draining
        pod.drain(DrainMode.HANDOFF, 0.3)
        await its.store.request_drain("blue", DrainRequest("handoff", 600, 2))
        await pod.heartbeat.heartbeat()
        async with asyncio.timeout(PATIENCE_S):
            await pod.wait_drained()
        await caller.task


async def test_a_fenced_call_keeps_nobody_waiting() -> None:
    """A caller whose messages wait for the store is let go when another pod turns out to have the call."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        store.gate.clear()
        for _ in range(3000):
            caller.transport.say(TYPED)
        await until(lambda: len(live.call.outbox.unsaved) > 256)
        await MemoryStore.claim(store, Claim(caller.call_id, "other", "green", 0, None, "other"))
        store.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await caller.task
        assert caller.transport.closed is not None
        assert caller.transport.closed[0] == 4409
        assert pod.admission.active == 0


async def test_a_cancelled_resume_leaves_the_call_writable() -> None:
    """Its caller left while the call's changes were being written."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        store.gate.clear()
        live.call.outbox.emit({"type": "first"})
        pod.committer.mark(live.writer)
        resume = asyncio.create_task(pod.resume(ResumeCall(caller.call_id, 0)))
        await until(lambda: pod.committer.has_pending(live.writer))
        resume.cancel()
        await asyncio.gather(resume, return_exceptions=True)
        store.gate.set()
        assert not live.writer.writes_paused
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")


async def test_a_resume_that_is_cancelled_after_its_claim_took_effect_does_not_fence_the_call() -> None:
    """The pod that asked has it in memory, and writes on under the claim's name."""
    store, took_effect = FaultyStore(), asyncio.Event()
    claim_of_store = store.claim

    async def claim_unanswered(claim: Claim) -> Claimed | NotClaimed:
        await claim_of_store(claim)
        took_effect.set()
        return await asyncio.get_running_loop().create_future()

    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        store.claim = claim_unanswered  # type: ignore[method-assign]  # what the pod asks
        resume = asyncio.create_task(pod.resume(ResumeCall(caller.call_id, 0)))
        await took_effect.wait()
        resume.cancel()
        await asyncio.gather(resume, return_exceptions=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert caller.transport.closed is None


async def test_a_request_whose_caller_has_left_takes_no_call() -> None:
    """A pod that was stopped finds old requests when it wakes up; the call goes on elsewhere by then."""
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        with pytest.raises(ConnectionRefused) as refusal:
            await green.resume(ResumeCall(caller.call_id, 0, is_gone=lambda: True))
        assert refusal.value.code == "caller_left"
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert green.admission.active == 0


@pytest.mark.parametrize("turns", [1, 2])
async def test_the_end_of_a_connection_may_be_noticed_a_turn_after_its_request(turns: int) -> None:
    """The event loop reads the end of a socket later than what was sent on it; no call is taken in between."""
    gone: list[bool] = []

    def notice(turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(notice, turns - 1)
        else:
            gone.append(True)

    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green")
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        notice(turns)
        with pytest.raises(ConnectionRefused) as refusal:
            await green.resume(ResumeCall(caller.call_id, 0, is_gone=lambda: bool(gone)))
        assert refusal.value.code == "caller_left"
        assert pod_of(await its.store.load(caller.call_id)) == b"blue"
        assert green.admission.active == 0


async def test_a_caller_who_left_while_the_call_was_found_keeps_nobody_from_it() -> None:
    """It goes on over the connection that it has; without one it is as if the caller had left a moment later."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        gone: list[bool] = []
        request = ResumeCall(caller.call_id, 0, is_gone=lambda: bool(gone))

        async def resume_and_leave() -> Attachment:
            gone.clear()
            store.claim_gate.clear()
            resume = asyncio.create_task(pod.resume(request))
            await until(lambda: store.claims_waiting)
            gone.append(True)
            store.claim_gate.set()
            return await resume

        with pytest.raises(ConnectionRefused) as refusal:
            await resume_and_leave()
        assert (refusal.value.status, refusal.value.code) == (503, "caller_left")
        assert pod.admission.active == 1
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert caller.transport.closed is None
        await caller.gone()
        attachment = await resume_and_leave()
        await attachment.abandon()
        assert (pod.admission.active, pod.view.parked_calls) == (0, 1)


async def test_a_pod_that_is_cut_off_takes_no_caller_back_whom_another_pod_has_served() -> None:
    """He has seen more than this pod has shown him, so its memory is not the newest."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        store.is_away = True
        caller.transport.say(TYPED)
        await until(lambda: pod.committer.degraded)
        await caller.gone()
        seen = int(caller.transport.ids[-1].removeprefix("evt_"))
        with pytest.raises(ConnectionRefused) as refusal:
            await its.resume(pod, caller.call_id, seen + 5)
        assert refusal.value.status == 503
        again = await its.resume(pod, caller.call_id, seen)
        assert (await again.greeting())["event_id"] == f"evt_{seen}"
