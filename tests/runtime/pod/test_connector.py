"""What a request leads to: a place, a call, a connection; how long a resume took and its caller was alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import lost, rig, told
from tests.waiting import PATIENCE_S, until
from voice_agent.call.drain import DrainMode
from voice_agent.errors import ConnectionRefused
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.ports import ResumeCall, StartCall
from voice_agent.stores.memory import MemoryStore

LONG_S = 1_000_000
"""Longer than anything takes, by so much that a thousandth of it shows."""
AT_LEISURE: dict[str, Any] = {"resume_window_s": 100 * LONG_S, "max_call_s": 100 * LONG_S}


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_resume_tells_for_how_long_its_caller_was_left_alone(elsewhere: bool) -> None:
    """By when the connection broke, not by what was written since."""
    clock, store = LeapingClock(), MemoryStore(ttl_s=60)
    async with rig(store) as its:
        blue, green = [await its.pod(color, color, clock=clock, **AT_LEISURE) for color in ("blue", "green")]
        caller = await its.start(blue, resumable=True)
        await lost(caller)
        clock.leap(LONG_S)
        store._calls[caller.call_id].fields["updated_at_ms"] = b"%d" % clock.wall_ms()
        pod = green if elsewhere else blue
        with told(pod, "call_resumed") as resumes:
            await its.resume(pod, caller.call_id, 0)
        [(kind, gap_s)] = resumes
        assert kind == "drop"
        assert LONG_S <= gap_s < LONG_S + PATIENCE_S


async def test_after_a_crash_the_last_write_is_when_its_caller_was_left_alone() -> None:
    """The pod could not say; a crash is not told as a drop."""
    clock, store = LeapingClock(), MemoryStore(ttl_s=60)
    async with rig(store) as its:
        blue, green = [await its.pod(color, color, clock=clock, **AT_LEISURE) for color in ("blue", "green")]
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        await blue.committer.flush(blue.owned.by_id[caller.call_id].writer)
        written_ms = clock.wall_ms() - 1000 * LONG_S
        store._calls[caller.call_id].fields["updated_at_ms"] = b"%d" % written_ms
        with told(green, "call_resumed") as resumes:
            await its.resume(green, caller.call_id, 0)
        [(kind, gap_s)] = resumes
        assert kind == "crash"
        assert LONG_S <= gap_s < LONG_S + PATIENCE_S


@pytest.mark.parametrize("handed_off", [False, True])
async def test_who_comes_back_to_the_same_pod_comes_after_a_drop_or_a_handoff(handed_off: bool) -> None:
    """One whose connection still stands was not left alone at all."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        if handed_off:
            await pod.owned.by_id[caller.call_id].hand_off()
            await caller.task
        with told(pod, "call_resumed") as resumes:
            await its.resume(pod, caller.call_id, 0)
        [(kind, gap_s)] = resumes
        assert kind == ("handoff" if handed_off else "drop")
        assert 0 <= gap_s < PATIENCE_S


async def test_a_gap_is_never_negative() -> None:
    """Though the pod that was left is ahead of this one."""
    ahead = LeapingClock()
    ahead.leap(LONG_S)
    async with rig() as its:
        blue, green = await its.pod("blue", clock=ahead, **AT_LEISURE), await its.pod("green", "green")
        caller = await its.start(blue, resumable=True)
        await lost(caller)
        with told(green, "call_resumed") as resumes:
            await its.resume(green, caller.call_id, 0)
        assert resumes == [("drop", 0)]


async def test_how_long_a_resume_takes_is_measured_and_its_claim_too() -> None:
    """From the request to the answer."""
    clock, store = LeapingClock(), FaultyStore()
    clock.leap(LONG_S)
    async with rig(store) as its:
        blue, green = [await its.pod(color, color, clock=clock) for color in ("blue", "green")]
        caller = await its.start(blue, resumable=True)
        await lost(caller)
        store.claim_gate.clear()
        with told(green, "resume_took") as resumes, told(green, "store_call") as answers:
            resume = asyncio.create_task(its.resume(green, caller.call_id, 0))
            await until(lambda: store.claims_waiting)
            clock.leap(30)
            store.claim_gate.set()
            await resume
        claims = [(seconds,) for op, seconds in answers if op == "claim"]
        for [(seconds,)] in (resumes, claims):
            assert 30 <= seconds < 30 + PATIENCE_S


async def test_a_client_that_has_come_back_can_come_back_again() -> None:
    """Whatever it said when it began the call: a drain hands it off."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await lost(caller)
        again = await its.resume(pod, caller.call_id, 0)
        await again.greeting()
        assert pod.owned.by_id[caller.call_id].call.lifecycle.resumable
        assert pod.view.calls_not_resumable() == 0


async def test_a_call_that_its_pod_has_yet_to_write_is_waited_for() -> None:
    """It may have begun while that pod found no store: who asks too soon elsewhere is not told that there is none."""
    store = FaultyStore()
    async with rig(store) as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green")
        store.gate.clear()
        start = asyncio.create_task(its.start(blue, resumable=True))
        await until(lambda: blue.owned.by_id)
        [call_id] = blue.owned.by_id
        with told(green, "store_call") as answers:
            resume = asyncio.create_task(its.resume(green, call_id, 0))
            await until(lambda: "claim" in [operation for operation, _ in answers])
        store.gate.set()
        await start
        info = (await (await resume).greeting())["session"]["call"]
        assert (info["id"], info["epoch"]) == (call_id, 2)


async def refused(pod: Pod, request: StartCall | ResumeCall) -> str:
    """The code with which a caller is turned away, who leaves the places of the pod as they were."""
    before = pod.admission.active
    with pytest.raises(ConnectionRefused) as refusal:
        await (pod.start(request) if isinstance(request, StartCall) else pod.resume(request))
    assert pod.admission.active == before
    return refusal.value.code


async def test_a_call_whose_caller_left_while_it_was_made_ends() -> None:
    """It went to another pod meanwhile, and nobody knows of this call. One with a key may be asked for again."""
    store, gone = FaultyStore(), list[bool]()
    async with rig(store) as its:
        pod = await its.pod()
        for key in (None, "k" * 64):
            gone.clear()
            store.gate.clear()
            request = StartCall("scripted", "key", call_key_hash=key, is_gone=lambda: bool(gone))
            start = asyncio.create_task(refused(pod, request) if key is None else pod.start(request))
            await until(lambda: pod.owned.by_id)
            [call_id] = pod.owned.by_id
            gone.append(True)
            store.gate.set()
            assert (await start == "caller_left") is (key is None)
            status = store._calls[call_id].fields["status"]
            assert (status == b"ended", call_id not in pod.owned.by_id) == (key is None, key is None)
        assert pod.observer.counts["call_started", None] == 1  # type: ignore[attr-defined]


async def test_each_connection_takes_a_place_and_whoever_is_refused_takes_none() -> None:
    """New calls up to the capacity, those that come back beyond it; by call key as by token. Each call is counted."""
    key, unknown, resume = "k" * 64, "call_" + "b" * 26, ResumeCall
    async with rig() as its:
        pod = await its.pod(capacity=2)
        assert await refused(pod, StartCall("nobody", "key")) == "model_not_found"
        assert await refused(pod, StartCall("nobody", "key", call_key_hash=key)) == "model_not_found"
        assert await refused(pod, resume(unknown)) == "call_not_found"
        first = await its.start(pod, call_key_hash=key, resumable=True)
        second = await its.start(pod, resumable=True)
        assert (pod.admission.active, pod.view.state) == (2, "overloaded")
        assert await refused(pod, StartCall("scripted", "key")) == "at_capacity"
        assert await refused(pod, StartCall("scripted", "key", call_key_hash="l" * 64)) == "at_capacity"
        again = await its.start(pod, call_key_hash=key, resumable=True)
        assert pod.admission.active == 3
        assert await refused(pod, resume(second.call_id)) == "at_capacity"
        assert await refused(pod, StartCall("scripted", "key", call_key_hash=key)) == "at_capacity"
        await first.task
        await (await its.resume(pod, second.call_id, 0)).greeting()
        await second.task
        assert pod.admission.active == 2
        pod.drain(DrainMode.FINISH, 600)
        assert await refused(pod, resume(again.call_id)) == "draining"
        assert await refused(pod, StartCall("scripted", "key", call_key_hash=key)) == "draining"
        counts = pod.observer.counts  # type: ignore[attr-defined]
        assert counts["call_started", None] == 2
        assert counts["call_resumed", "drop"] == 2
