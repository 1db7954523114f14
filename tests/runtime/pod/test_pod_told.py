"""What a pod tells of itself and of its calls, and what it leaves when it closes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import LeapingClock
from tests.runtime.faulty import FaultyStore
from tests.runtime.rig import ANSWER, TYPED, Caller, ScriptedAgent, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.agents.base import ResponsePart, Text, Turn
from voice_agent.call.completeness import Missing
from voice_agent.call.drain import DrainMode
from voice_agent.call.machine import Attached
from voice_agent.errors import ConnectionRefused, StoreRefused, StoreUnfit
from voice_agent.runtime.durability.write_back import PROBE_S
from voice_agent.runtime.pod.heartbeat import HEARTBEAT_S
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.upkeep import UPKEEP_S
from voice_agent.runtime.ports import Arrival, ResumeCall, StartCall, StoreState
from voice_agent.stores.base import DrainRequest
from voice_agent.stores.memory import MemoryStore

LONG_S = 1_000_000
"""Longer than anything takes, by so much that a thousandth of it shows."""
AT_LEISURE: dict[str, Any] = {"resume_window_s": 100 * LONG_S, "max_call_s": 100 * LONG_S}


@contextmanager
def told(pod: Pod, name: str) -> Iterator[list[tuple[Any, ...]]]:
    """What an observer is told by one of its methods."""
    found: list[tuple[Any, ...]] = []
    with patch.object(pod.observer, name, lambda *values: found.append(values), create=True):
        yield found


async def lost(caller: Caller) -> None:
    """A caller whose connection broke, once it had been greeted."""
    await caller.greeting()
    await caller.gone()


# --- resumes ----------------------------------------------------------------------


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_resume_tells_for_how_long_its_caller_was_left_alone(elsewhere: bool) -> None:
    """By when the connection broke, not by what was written since."""
    clock, store = LeapingClock(), MemoryStore(ttl_s=60)
    async with rig(store) as its:
        blue, green = [await its.pod(color, color, clock=clock, **AT_LEISURE) for color in ("blue", "green")]
        caller = await its.start(blue, resumable=True)
        await lost(caller)
        clock.leap(LONG_S)
        store._calls[caller.call_id].fields["updated_at"] = b"%d" % clock.wall_ms()
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
        await blue.committer.flush(blue.owned.by_id[caller.call_id])
        written_ms = clock.wall_ms() - 1000 * LONG_S
        store._calls[caller.call_id].fields["updated_at"] = b"%d" % written_ms
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
        assert pod.owned.by_id[caller.call_id].call.resumable
        assert pod.view.calls_not_resumable() == 0


@pytest.mark.parametrize(
    ("gap", "missing", "found"),
    [
        (None, Missing(), None),
        ((3, 5), Missing(), {"from": "evt_3", "to": "evt_5"}),
        (None, Missing(items=2), {"from": None, "to": None, "items": 2}),
        (None, Missing(events=4), None),
        ((3, 3), Missing(items=1, events=2, speech=4), {"from": "evt_3", "to": "evt_3", "items": 1, "speech": 4}),
    ],
)
async def test_a_caller_is_told_which_events_and_how_much_else_is_gone(
    gap: tuple[int, int] | None, missing: Missing, found: Any
) -> None:
    """Events by their ids, and only those that this client has missed; nothing of what is there."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        live = pod.owned.by_id[caller.call_id]
        greeting = pod.greeter.describe(live.call, Attached(5, gap, [], rewound=False, missing=missing), resumed=True)
        assert greeting["gap"] == found


# --- figures ------------------------------------------------------------------------


@pytest.mark.parametrize("store_ms", [None, 5e12])
async def test_when_calls_were_taken_is_told_by_the_stores_clock(store_ms: float | None) -> None:
    """Of a store without one by the pod's; never is 0."""

    class DatedStore(MemoryStore):
        def wall_ms(self) -> float | None:
            return store_ms

    clock = LeapingClock()
    async with rig(DatedStore(ttl_s=60)) as its:
        pod = await its.pod(clock=clock)
        assert (pod.arrivals.took_call_at_ms(), pod.arrivals.forwarded_call_at_ms()) == (0, 0)
        await its.start(pod, arrival=Arrival.FORWARDED)
        clock.leap(LONG_S)
        now_ms = store_ms or clock.wall_ms()
        for at_ms in (pod.arrivals.took_call_at_ms(), pod.arrivals.forwarded_call_at_ms()):
            assert 0 <= now_ms - at_ms - 1000 * LONG_S <= 1000 * PATIENCE_S


@pytest.mark.parametrize(
    ("arrival", "took", "forwarded"),
    [(Arrival.ASKED_FOR, False, False), (Arrival.DIRECT, True, False), (Arrival.FORWARDED, True, True)],
)
async def test_a_resume_shows_where_callers_are_sent_as_a_new_call_does(
    arrival: Arrival, took: bool, forwarded: bool
) -> None:
    """Unless it asks for its color; only what a proxy handed on was surely sent."""
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green")
        caller = await its.start(blue, resumable=True, arrival=arrival)
        await its.resume(green, caller.call_id, 0, arrival=arrival)
        for pod in (blue, green):
            assert (pod.arrivals.took_call_at_ms() > 0, pod.arrivals.forwarded_call_at_ms() > 0) == (took, forwarded)


async def test_the_oldest_attached_call_is_told() -> None:
    """Parked ones do not count; of none it is 0."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        callers, began_ms = [], []
        for _ in range(3):
            callers.append(await its.start(pod))
            began_ms.append(pod.owned.by_id[callers[-1].call_id].call.created_at_ms)
            clock.leap(10)
        for caller, at_ms in zip(callers, began_ms, strict=True):
            assert pod.view.oldest_call_at_ms() == at_ms
            await lost(caller)
        assert pod.view.oldest_call_at_ms() == 0


@pytest.mark.parametrize(("key_bytes", "each"), [(0, 500), (200, 200)])
async def test_a_key_may_hold_its_share_or_all(key_bytes: int, each: int) -> None:
    """0 is as much as all callers together."""
    async with rig() as its:
        budget = its.unopened_pod("a", caller_bytes=500, key_bytes=key_bytes).budget
        assert (budget.limit_bytes, budget.key_bytes) == (500, each)


async def test_a_call_is_read_wherever_it_is() -> None:
    """From the pod's memory or from the store, with whose it is now; there is nothing to read of an unknown one."""
    async with rig() as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        caller = await its.start(blue, resumable=True)
        await caller.greeting()
        await blue.committer.flush(blue.owned.by_id[caller.call_id])
        for pod in (blue, green):
            record = await pod.call_record(caller.call_id)
            assert record is not None
            assert (record["owner"], record["color"]) == ("blue-1", "blue")
        assert await blue.call_record("call_" + "b" * 26) is None
        await its.resume(green, caller.call_id, 0)
        record = await green.call_record(caller.call_id)
        assert record is not None
        assert (record["owner"], record["color"]) == ("green-1", "green")


@pytest.mark.parametrize(
    ("given_up", "heartbeat", "told_as"),
    [
        (None, StoreState.OK, "ok"),
        (None, StoreState.UNREACHABLE, "unreachable"),
        (None, StoreState.REFUSED, "refused (no heartbeat)"),
        (StoreState.FULL, StoreState.OK, "full"),
        (StoreState.FULL, StoreState.UNREACHABLE, "full"),
        (StoreState.REFUSED, StoreState.OK, "refused (no write)"),
        (StoreState.REFUSED, StoreState.REFUSED, "refused (no write)"),
        (StoreState.UNREACHABLE, StoreState.REFUSED, "unreachable"),
    ],
)
async def test_the_store_is_as_writes_find_it_or_else_heartbeats(
    given_up: StoreState | None, heartbeat: StoreState, told_as: str
) -> None:
    """With the reason of whichever is told, where the store refuses. Only a store that is well makes a pod well."""
    async with rig() as its:
        pod = its.unopened_pod("a")
        pod.committer.write_back.given_up = given_up
        pod.committer.write_back.failure = StoreRefused("no write")
        pod.store_health.heartbeat_state, pod.store_health.heartbeat_failure = heartbeat, StoreRefused("no heartbeat")
        status = pod.status()
        assert status.store == f"memory:{told_as}"
        assert status.status == ("ok" if told_as == "ok" else "degraded")


async def test_a_pod_is_degraded_until_every_call_is_written() -> None:
    """Though heartbeats go well again."""
    store = FaultyStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        store.rejects.add(caller.call_id)
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert (pod.status().store, pod.view.state) == ("memory:degraded", "degraded")


@pytest.mark.parametrize(
    ("is_nearly_full", "heartbeat", "code"),
    [
        (False, StoreState.OK, None),
        (False, StoreState.UNREACHABLE, None),
        (True, StoreState.OK, "store_nearly_full"),
        (True, StoreState.REFUSED, "store_nearly_full"),
        (True, StoreState.UNREACHABLE, None),
    ],
)
async def test_a_store_that_is_nearly_full_takes_no_new_calls_while_it_can_be_reached(
    is_nearly_full: bool, heartbeat: StoreState, code: str | None
) -> None:
    """In an outage they go on from memory."""
    async with rig() as its:
        pod = its.unopened_pod("a")
        pod.committer.memory.is_nearly_full = is_nearly_full
        pod.store_health.heartbeat_state = heartbeat
        refusal = pod.refusal_of_new_calls()
        assert (None if refusal is None else refusal.code) == code


# --- places -----------------------------------------------------------------------------


async def refused(pod: Pod, request: StartCall | ResumeCall) -> str:
    """The code with which a caller is turned away, who leaves the places of the pod as they were."""
    before = pod.admission.active
    with pytest.raises(ConnectionRefused) as refusal:
        await (pod.start(request) if isinstance(request, StartCall) else pod.resume(request))
    assert pod.admission.active == before
    return refusal.value.code


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


# --- erasing --------------------------------------------------------------------------


async def test_there_is_nothing_to_erase_of_an_unknown_call() -> None:
    """And that is said, and not logged as done."""
    async with rig() as its:
        pod = await its.pod()
        with capture_logs() as logs:
            assert await pod.erase("call_" + "b" * 26) is False
        assert logs == []


@pytest.mark.parametrize("is_being_written", [False, True])
async def test_a_call_that_the_store_has_not_got_yet_is_erased_there_too(is_being_written: bool) -> None:
    """It is written first, and a write under way is waited for: later, it would bring the call back."""
    clock, store = LeapingClock(), FaultyStore()
    async with rig(store) as its:
        pod, other = await its.pod(clock=clock), await its.pod("pod-b")
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        await pod.committer.flush(live)
        if is_being_written:
            store.is_away = True
            caller.transport.say(TYPED)
            await until(lambda: ("store_failed", "commit") in pod.observer.counts)  # type: ignore[attr-defined]
            clock.leap(10)
            await until(lambda: pod.committer.degraded)
            store.gate.clear()
            store.is_away = False
            clock.leap(PROBE_S)
            await until(lambda: pod.committer.write_back.under_way)
        store._calls.clear()
        erasing = asyncio.create_task(pod.erase(caller.call_id))
        if is_being_written:
            for _ in range(20):
                await asyncio.sleep(0)
            assert not erasing.done()
            store.gate.set()
        assert await erasing is True
        assert pod.view.calls() == []
        await caller.task
        held = await store.load(caller.call_id)
        assert held is not None
        assert (held.fields["status"], held.fields["outcome"], held.items) == (b"ended", b"admin", {})
        with pytest.raises(ConnectionRefused) as refusal:
            await other.resume(ResumeCall(caller.call_id, 0))
        assert refusal.value.status == 410


# --- drains -----------------------------------------------------------------------------


async def test_a_drain_that_was_wished_is_one_while_it_lasts() -> None:
    """Not once it was cancelled, and never where this very pod was asked."""
    async with rig() as its:
        pod = await its.pod()
        await its.start(pod)
        assert not pod.drains_as_wished
        pod.drainer.apply(DrainRequest("finish", 600, 1))
        assert pod.drains_as_wished
        pod.drainer.apply(None)
        assert not pod.draining
        pod.drainer.apply(DrainRequest("finish", 600, 1))
        assert pod.drainer.cancel()
        assert not pod.drains_as_wished
        pod.drain(DrainMode.FINISH, 600)
        pod.drainer.apply(None)
        assert pod.draining
        assert not pod.drains_as_wished


async def test_a_drain_is_waited_for_until_the_last_attached_call_is_gone() -> None:
    """And no longer."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        pod.drain(DrainMode.FINISH, 600)
        waiting = asyncio.create_task(pod.wait_drained())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        await caller.gone()
        async with asyncio.timeout(PATIENCE_S):
            await waiting


# --- life -------------------------------------------------------------------------------


async def test_a_pod_of_which_a_part_has_crashed_says_that_it_fails() -> None:
    """To other pods and in its health, and the log names the part."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        assert pod.view.state == "ok"
        with patch.object(pod.upkeep, "look_after_all", side_effect=RuntimeError("broken")), capture_logs() as logs:
            await asyncio.sleep(0)
            clock.leap(UPKEEP_S)
            await until(lambda: pod.view.state == "failing")
            await until(lambda: logs)
        assert pod.status().status == "failing"
        assert [line["task"] for line in logs if line["event"] == "pod task crashed"] == ["upkeep"]


async def test_a_pod_opens_on_no_store_that_cannot_keep_calls() -> None:
    """It is asked before anything is begun."""

    class UnfitStore(MemoryStore):
        async def shortcomings(self, calls: int) -> list[str]:
            raise StoreUnfit("it forgets what it likes")

    async with rig(UnfitStore(ttl_s=60)) as its:
        pod = its.unopened_pod("a")
        with pytest.raises(StoreUnfit):
            await pod.open()
        assert await its.store.pods() == []
        assert pod._tasks == []


async def test_a_pod_looks_after_its_event_loop_and_its_parked_calls() -> None:
    """By itself, as long as it is open."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock, capacity=5)
        callers = [await its.start(pod, resumable=True) for _ in range(2)]
        for caller in callers:
            await lost(caller)
        with told(pod, "loop_lag") as lags:
            await until(lambda: lags)
        pod.admission.capacity = 1
        clock.leap(UPKEEP_S)
        await until(lambda: len(pod.view.calls()) == 1)


async def test_only_what_crashes_is_told_as_a_crash() -> None:
    """Work that ends, or is cancelled when the pod closes, is none."""

    async def ends() -> None: ...

    async def waits() -> None:
        await asyncio.Event().wait()

    async def crashes() -> None:
        raise RuntimeError("broken")

    faults: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    async with rig() as its:
        pod = its.unopened_pod("a")
        with capture_logs() as logs:
            for work in (ends, waits, crashes):
                pod._start(work.__name__, work())
            await asyncio.sleep(0)
            await pod.close()
        assert [(line["event"], line["task"]) for line in logs] == [("pod task crashed", "crashes")]
        assert faults == []


async def test_a_pod_is_in_the_fleet_as_soon_as_it_is_open_and_says_so_again() -> None:
    """Nobody waits for its first heartbeat; and it has begun by the store's clock."""
    now_ms = 5e12

    class DatedStore(MemoryStore):
        def wall_ms(self) -> float | None:
            return now_ms

    class FollowingClock(LeapingClock):
        def follow(self, wall_ms: float, *, leaps: bool) -> None:
            self._ahead_s += (wall_ms - self.wall_ms()) / 1000

    clock, store = FollowingClock(), DatedStore(ttl_s=60)
    async with rig(store) as its:
        pod = await its.pod(clock=clock)
        [first] = await store.pods()
        assert first.name == pod.name
        assert 0 <= pod.started_at_ms - now_ms <= 1000 * PATIENCE_S
        store._pods.clear()
        await asyncio.sleep(0)
        clock.leap(HEARTBEAT_S)
        await until(store.pods)


class WaitingAgent(ScriptedAgent):
    """Says a word, and then notes that it was stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.was_stopped = False

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
        yield Text("Let me see. ")
        try:
            await asyncio.Event().wait()
        finally:
            self.was_stopped = True


async def test_a_pod_that_has_closed_does_nothing_more_and_has_written_all() -> None:
    """What was said last is in the store, with the reply under way; no task of the pod, nor any agent, goes on."""
    agent = WaitingAgent()
    async with rig(None, agent) as its:
        pod = its.unopened_pod("pod-a")
        await pod.open()
        caller = await its.start(pod, resumable=True)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        live = pod.owned.by_id[caller.call_id]
        live.call.emit({"type": "last"})
        pod.committer.mark(live)
        await pod.close()
        assert agent.was_stopped
        assert all(task.done() for task in pod._tasks)
        held = await its.store.load(caller.call_id)
        assert held is not None
        assert held.outbox[-1].n == live.call.seq
        assert held.fields["response"]
        [last] = await its.store.pods()
        assert last.status == "left"
        await caller.gone()
