"""A pod's calls: made, parked, resumed, taken over, ended.

Tests of `facts`, `options` and `other_pods`, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from unittest.mock import patch

import pytest

from tests.runtime.rig import ANSWER, TYPED, Caller, CountingObserver, MemoryTransport, ScriptedAgent, rig
from tests.waiting import PATIENCE_S, until
from voice_agent.call.audio import PCM
from voice_agent.call.changes import CallWrite
from voice_agent.call.drain import DrainMode
from voice_agent.errors import ConnectionRefused
from voice_agent.kit.clip import Clip
from voice_agent.runtime.ports import ClientOptions, ResumeCall, StartCall
from voice_agent.stores.base import WriteOutcome
from voice_agent.stores.memory import MemoryStore


async def test_a_new_call_is_greeted_and_answered() -> None:
    """The first event is `session.created` at evt_0; a typed turn gets a reply, events numbered from 1."""
    async with rig() as its:
        caller = await its.start(await its.pod())
        greeting = await caller.greeting()
        assert greeting["event_id"] == "evt_0"
        assert greeting["session"]["call"]["resumed"] is False
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done")
        assert caller.transport.ids == [f"evt_{n}" for n in range(1, len(caller.transport.events))]


async def test_what_was_sent_is_in_the_store() -> None:
    """Durable before visible: at any moment the store holds at least what the caller got."""
    async with rig() as its:
        caller = await its.start(await its.pod())
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio.delta")
        seen = int(caller.transport.ids[-1].removeprefix("evt_"))
        snapshot = await its.store.load(caller.call_id)
        assert snapshot is not None
        assert snapshot.outbox[-1].n >= seen


async def test_a_dropped_caller_resumes_on_another_pod_without_gap_or_repeat() -> None:
    """Ids run on across the pods and the reply goes on where the caller lost it."""
    agent = ScriptedAgent(chunks=5)
    async with rig(None, agent) as its:
        blue, green = await its.pod("blue-1"), await its.pod("green-1", "green")
        first = await its.start(blue)
        first.transport.say(TYPED)
        agent.may_go_on.clear()
        first.transport.say(ANSWER)
        await first.transport.event("response.output_audio.delta")
        seen = len(first.transport.ids)
        second = await its.resume(green, first.call_id, seen)
        agent.may_go_on.set()
        await second.transport.event("response.done")
        assert await first.transport.until(lambda it: it.closed) == (4409, "the call is attached elsewhere")
        greeting = await second.greeting()
        assert greeting["event_id"] == f"evt_{seen}"
        call = greeting["session"]["call"]
        assert call["input_audio_bytes"] == PCM.size(call["input_audio_ms"])
        assert call | {"resume_token": "", "input_audio_ms": 0, "input_audio_bytes": 0} == {
            "id": first.call_id,
            "resume_token": "",
            "color": "green",
            "pod": "green-1",
            "epoch": 2,
            "resumed": True,
            "input_audio_ms": 0,
            "input_audio_bytes": 0,
            "last_client_event_id": None,
            "gap": None,
            "ttl_s": 1800,
            "resume_window_s": 120,
        }
        ids = [*first.transport.ids[:seen], *second.transport.ids]
        assert ids == [f"evt_{n}" for n in range(1, len(ids) + 1)]
        both = first.transport.events[: seen + 1] + second.transport.events
        deltas = [event["delta"] for event in both if event["type"] == "response.output_audio.delta"]
        assert len(deltas) == len(set(deltas)) == 5
        assert [event["delta"] for event in both if event["type"].endswith("transcript.delta")] == ["reply 1"]
        assert [asked.number for asked in agent.turns] == [agent.turns[0].number] * 2


async def test_a_parked_call_goes_on_making_its_reply() -> None:
    """Nobody is connected, yet the reply is made and stored, and replayed to whoever comes back."""
    agent = ScriptedAgent()
    async with rig(None, agent) as its:
        pod = await its.pod()
        first = await its.start(pod)
        agent.may_go_on.clear()
        first.transport.say(ANSWER)
        await first.transport.event("response.output_audio.delta")
        seen = len(first.transport.ids)
        await first.gone()
        assert (pod.status().active_calls, pod.status().parked_calls) == (0, 1)
        agent.may_go_on.set()
        second = await its.resume(pod, first.call_id, seen)
        await second.transport.event("response.done")
        ids = first.transport.ids + second.transport.ids
        assert ids == [f"evt_{n}" for n in range(1, len(ids) + 1)]
        assert len(agent.turns) == 1


async def test_nothing_is_visible_before_it_is_durable() -> None:
    """While a write is under way its events wait; once it has returned they go out."""

    class HeldStore(MemoryStore):
        """Writes only while the gate is open."""

        def __init__(self) -> None:
            super().__init__(ttl_s=60)
            self.gate = asyncio.Event()
            self.gate.set()
            self.asked = asyncio.Event()

        async def commit(self, writes: Sequence[CallWrite]) -> list[WriteOutcome]:
            self.asked.set()
            await self.gate.wait()
            return await super().commit(writes)

    store = HeldStore()
    async with rig(store) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        await pod.committer.flush(pod.owned.by_id[caller.call_id].writer)
        store.gate.clear()
        store.asked.clear()
        caller.transport.say(TYPED)
        await store.asked.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert caller.transport.ids == []
        store.gate.set()
        await caller.transport.event("conversation.item.done")


async def test_leaving_a_page_parks_the_call() -> None:
    """1001 is no hang-up: a page that is loaded again resumes."""
    async with rig() as its:
        pod = await its.pod()
        first = await its.start(pod)
        await first.gone(1001)
        second = await its.resume(pod, first.call_id, 0)
        assert (await second.greeting())["session"]["call"]["resumed"] is True


async def test_a_transcription_under_way_is_done_by_the_next_owner() -> None:
    """The pod dies while it recognises a turn; the next one recognises the whole turn."""

    class DeafAgent(ScriptedAgent):
        """Hears only what the second pod plays to it."""

        clips: list[bytes] = []  # noqa: RUF012  # one agent, one test

        async def transcribe(self, clip: Clip) -> str | None:
            self.clips.append(clip.audio)
            if len(self.clips) == 1:
                await asyncio.Event().wait()
            return "heard"

    agent = DeafAgent()
    async with rig(None, agent) as its:
        one, two = await its.pod("a"), await its.pod("b")
        first = await its.start(one)
        audio = {"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}}
        first.transport.say({"type": "session.update", "session": {"type": "realtime", "audio": audio}})
        first.transport.say({"type": "input_audio_buffer.append", "audio": "AAEC" * 3200})
        first.transport.say({"type": "input_audio_buffer.commit"})
        await first.transport.event("conversation.item.done")
        second = await its.resume(two, first.call_id, len(first.transport.ids))
        kind = "conversation.item.input_audio_transcription.completed"
        assert (await second.transport.event(kind))["transcript"] == "heard"
        assert agent.clips == [bytes([0, 1, 2]) * 3200] * 2


async def test_a_hang_up_ends_the_call_for_good() -> None:
    """After close code 1000 a resume gets 410, on any pod."""
    async with rig() as its:
        one, two = await its.pod("a"), await its.pod("b")
        caller = await its.start(one)
        await caller.gone(1000)
        for pod in (one, two):
            with pytest.raises(ConnectionRefused) as refusal:
                await pod.resume(ResumeCall(caller.call_id))
            assert refusal.value.status == 410


async def test_an_unknown_call_is_404() -> None:
    """No record: 404."""
    async with rig() as its:
        pod = await its.pod()
        with pytest.raises(ConnectionRefused) as refusal:
            await pod.resume(ResumeCall("call_" + "b" * 26))
        assert refusal.value.status == 404
        assert pod.status().active_calls == 0


async def test_a_full_pod_refuses_with_503_and_counts_right() -> None:
    """A place is taken from before the upgrade until the connection's task has ended."""
    async with rig() as its:
        pod = await its.pod(capacity=1)
        caller = await its.start(pod)
        assert pod.view.state == "overloaded"
        with pytest.raises(ConnectionRefused) as refusal:
            await pod.start(StartCall("scripted", "key"))
        assert (refusal.value.status, refusal.value.retry_after_s) == (503, 1)
        await caller.gone()
        assert pod.status().active_calls == 0


async def test_a_call_key_starts_once_and_then_resumes() -> None:
    """The same key again, on another pod, is the same call, at the end of its outbox."""
    async with rig() as its:
        one, two = await its.pod("a"), await its.pod("b")
        first = await its.start(one, call_key_hash="k" * 64, resumable=True)
        first.transport.say(TYPED)
        await first.transport.event("conversation.item.done")
        await first.gone()
        second = await its.start(two, call_key_hash="k" * 64, resumable=True)
        greeting = await second.greeting()
        assert second.call_id == first.call_id
        assert greeting["event_id"] == first.transport.ids[-1]
        with pytest.raises(ConnectionRefused) as refusal:
            await two.start(StartCall("scripted", "another key", call_key_hash="k" * 64))
        assert refusal.value.status == 403


async def test_a_call_key_of_an_ended_call_starts_a_new_one() -> None:
    """The key outlives the call."""
    async with rig() as its:
        pod = await its.pod()
        first = await its.start(pod, call_key_hash="k" * 64)
        await first.gone(1000)
        second = await its.start(pod, call_key_hash="k" * 64)
        assert second.call_id != first.call_id
        assert (await second.greeting())["session"]["call"]["resumed"] is False


async def test_two_first_connects_with_one_key_make_one_call() -> None:
    """Whoever loses the race takes over the winner's call."""
    async with rig() as its:
        pods = [await its.pod("a"), await its.pod("b")]
        request = StartCall("scripted", "key", call_key_hash="k" * 64)
        attachments = await asyncio.gather(*(pod.start(request) for pod in pods))
        assert len({attachment.call_id for attachment in attachments}) == 1
        callers = [Caller(attachment) for attachment in attachments]
        closed = asyncio.create_task(asyncio.sleep(0))
        await closed
        epochs = [(await caller.greeting())["session"]["call"]["epoch"] for caller in callers]
        assert sorted(epochs) == [1, 2]


async def test_a_pod_that_lost_a_call_forgets_it_and_closes_with_4409() -> None:
    """A silent call's old owner learns within a heartbeat that another pod owns it."""
    async with rig() as its:
        one, two = await its.pod("a"), await its.pod("b")
        first = await its.start(one)
        await first.greeting()
        await one.committer.flush(one.owned.by_id[first.call_id].writer)
        await its.resume(two, first.call_id, 0)
        closed = await first.transport.until(lambda it: it.closed)
        await first.task
        assert closed[0] == 4409
        assert one.view.calls() == []
        assert len(two.view.calls()) == 1
        assert isinstance(one.observer, CountingObserver)
        assert one.observer.counts["write_fenced", None] == 1


async def test_a_drain_hands_quiet_calls_over_and_then_ends() -> None:
    """With another pod up, a resumable call is closed with 1012 and the drain is done."""
    async with rig() as its:
        one, two = await its.pod("a"), await its.pod("b")
        caller = await its.start(one, resumable=True, client=ClientOptions(going_away=True))
        await caller.greeting()
        one.drain(DrainMode.HANDOFF, 600)
        assert one.status().status == "draining"
        assert (await caller.transport.until(lambda it: it.closed))[0] == 1012
        await asyncio.wait_for(one.wait_drained(), PATIENCE_S)
        assert (await caller.transport.event("call.going_away"))["reason"] == "drain"
        second = await its.resume(two, caller.call_id, len(caller.transport.ids))
        assert (await second.greeting())["session"]["call"]["gap"] is None
        with pytest.raises(ConnectionRefused) as refusal:
            await one.resume(ResumeCall(caller.call_id))
        assert refusal.value.status == 503


async def test_a_drain_without_another_pod_waits_for_the_deadline() -> None:
    """Nobody is sent away into nothing; at the deadline the call is parked and closed with 1012."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        pod.drain(DrainMode.HANDOFF, 0.5)
        assert (await caller.transport.until(lambda it: it.closed))[0] == 1012
        await asyncio.wait_for(pod.wait_drained(), PATIENCE_S)
        snapshot = await its.store.load(caller.call_id)
        assert snapshot is not None
        assert snapshot.fields["status"] == b"parked"


async def test_a_cancelled_drain_takes_calls_again() -> None:
    """The pod comes back."""
    async with rig() as its:
        pod = await its.pod()
        await its.start(pod)
        pod.drain(DrainMode.FINISH, 60)
        assert pod.drainer.cancel()
        assert pod.status().status == "ok"
        await its.start(pod)


async def test_an_administrator_drains_this_pod_or_another_by_its_name() -> None:
    """Another pod's name is left to whoever is that pod."""
    async with rig() as its:
        pod = await its.pod("a")
        await its.start(pod)
        assert await pod.begin_drain(DrainMode.FINISH, 60, only="b") is False
        assert not pod.draining
        assert await pod.end_drain(only="b") is None
        assert await pod.end_drain(only="a") is False
        assert await pod.begin_drain(DrainMode.FINISH, 60, only="a") is True
        assert pod.draining
        assert not pod.drains_as_requested
        assert await pod.end_drain(only="b") is None
        assert pod.draining
        assert await pod.end_drain() is True
        assert not pod.draining


async def test_a_drain_that_breaks_keeps_the_process_from_leaving_no_longer(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody would be let go any more: the calls are cut off instead of waited for."""
    async with rig() as its:
        pod = await its.pod()
        await its.start(pod)
        with patch.object(pod.owned, "by_id", None):
            pod.drain(DrainMode.FINISH, 60)
            async with asyncio.timeout(PATIENCE_S):
                await pod.wait_drained()


async def test_calls_that_cannot_come_back_are_counted() -> None:
    """Attached ones whose client never said that it can: a drain waits for them."""
    async with rig() as its:
        pod = await its.pod()
        assert pod.view.calls_not_resumable() == 0
        await its.start(pod, resumable=True)
        assert pod.view.calls_not_resumable() == 0
        caller = await its.start(pod)
        assert pod.view.calls_not_resumable() == 1
        await caller.greeting()
        await caller.gone()
        assert pod.view.calls_not_resumable() == 0


async def test_loopback_returns_every_frame_in_order() -> None:
    """Each appended frame comes back once, in order."""
    async with rig() as its:
        caller = await its.start(await its.pod(), "mirror")
        frames = [f"{number:04d}" * 240 for number in range(200)]
        for frame in frames:
            caller.transport.say({"type": "input_audio_buffer.append", "audio": frame})
        await caller.transport.event("response.output_audio.delta", 200)
        assert [e["delta"] for e in caller.transport.events if e["type"] == "response.output_audio.delta"] == frames


async def test_an_unknown_model_is_refused_before_anything_is_made() -> None:
    """400, and no place is kept."""
    async with rig() as its:
        pod = await its.pod()
        with pytest.raises(ConnectionRefused) as refusal:
            await pod.start(StartCall("nobody", "key"))
        assert (refusal.value.status, refusal.value.param) == (400, "model")
        assert pod.status().active_calls == 0


async def test_an_abandoned_call_ends_after_the_resume_window() -> None:
    """Parked longer than the window: ended, and a resume gets 410."""
    async with rig() as its:
        pod = await its.pod(resume_window_s=0)
        caller = await its.start(pod)
        await caller.gone()
        await until(lambda: not pod.view.calls())
        with pytest.raises(ConnectionRefused) as refusal:
            await pod.resume(ResumeCall(caller.call_id))
        assert refusal.value.status == 410


async def test_parked_calls_beyond_the_capacity_leave_the_memory_and_not_the_store() -> None:
    """Connecting and dropping in a loop fills no memory, and every call can still be resumed."""
    async with rig() as its:
        pod = await its.pod(capacity=2)
        gone = []
        for _ in range(4):
            caller = await its.start(pod)
            await caller.gone()
            gone.append(caller.call_id)
        await until(lambda: len(pod.view.calls()) <= 2)
        back = await its.resume(pod, gone[0], 0)
        assert (await back.greeting())["session"]["call"]["gap"] is None


async def test_a_call_that_cannot_be_written_does_not_stop_the_others() -> None:
    """One call's fault closes that call with 1011; its last good state stays in the store."""
    async with rig() as its:
        pod = await its.pod()
        bad, good = await its.start(pod), await its.start(pod)
        await bad.greeting()
        live = pod.owned.by_id[bad.call_id]
        await pod.committer.flush(live.writer)
        live.call.dialogue.agent_state = {"not json": object()}
        live.call.record.mark("agent")
        bad.transport.say(TYPED)
        assert (await bad.transport.until(lambda it: it.closed))[0] == 1011
        good.transport.say(TYPED)
        await good.transport.event("conversation.item.done")
        again = await its.resume(pod, bad.call_id, 0)
        assert (await again.greeting())["session"]["call"]["resumed"] is True


async def test_a_fault_while_listening_parks_the_call() -> None:
    """Whatever breaks in the handling of a message, the caller is told to come back."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        live._max_audio_bytes = None  # type: ignore[assignment]  # makes parsing raise
        caller.transport.say({"type": "input_audio_buffer.append", "audio": "AAAA"})
        assert (await caller.transport.until(lambda it: it.closed))[0] == 1011
        await caller.task
        assert pod.status().parked_calls == 1
        assert pod.status().active_calls == 0


async def test_a_caller_who_does_not_read_cannot_hold_up_a_drain() -> None:
    """A send that never returns is cut off; the drain ends."""

    class StuckTransport(MemoryTransport):
        """Takes the greeting and then nothing more."""

        async def send(self, text: bytes) -> None:
            if self.events:
                await asyncio.Event().wait()
            await super().send(text)

    async with rig() as its:
        one, _ = await its.pod("a"), await its.pod("b")
        attachment = await one.start(StartCall("scripted", "key", resumable=True))
        stuck = StuckTransport()
        serving = asyncio.create_task(attachment.serve(stuck))
        await stuck.event("session.created")
        stuck.say(TYPED)
        one.drain(DrainMode.HANDOFF, 1)
        await asyncio.wait_for(one.wait_drained(), PATIENCE_S)
        await serving
        assert stuck.closed is not None
        assert stuck.closed[0] == 1012


async def test_the_end_of_a_call_is_counted_once() -> None:
    """An agent's or an operator's end, and the close of the connection that follows, are one end."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await caller.greeting()
        assert await pod.erase(caller.call_id)
        await caller.task
        counts: dict[tuple[str, object], int] = pod.observer.counts  # type: ignore[attr-defined]
        assert {key: value for key, value in counts.items() if key[0] == "call_ended"} == {("call_ended", "admin"): 1}


async def test_a_caller_who_never_pauses_can_be_resumed_at_once() -> None:
    """A flood on the old connection does not keep the new one waiting."""
    async with rig() as its:
        pod = await its.pod()
        first = await its.start(pod, "mirror")
        await first.greeting()
        flooding = True

        async def flood() -> None:
            while flooding:
                first.transport.say({"type": "input_audio_buffer.append", "audio": "AAAA" * 320})
                await asyncio.sleep(0)

        task = asyncio.create_task(flood())
        second = await asyncio.wait_for(its.resume(pod, first.call_id, 0), PATIENCE_S)
        assert (await second.greeting())["session"]["call"]["epoch"] == 2
        flooding = False
        await task
