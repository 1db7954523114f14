"""What a call starts, it stops; what waits for something waits for that and no longer.

Tests of `client_activity`, too.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from tests.runtime.clocks import LeapingClock
from tests.runtime.rig import ANSWER, TYPED, Caller, ScriptedAgent, rig, write
from tests.waiting import PATIENCE_S, until
from voice_agent.call.inputs import AppendAudio, CommitAudio, VoiceBoundary
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.runtime.calls import live_call, muted
from voice_agent.runtime.pod.pod import Pod
from voice_agent.runtime.pod.upkeep import ASK_EPOCH_S
from voice_agent.stores.base import Claim
from voice_agent.stores.memory import MemoryStore

FRAME = bytes(960)
CANCEL = {"type": "response.cancel"}


class WatchedAgent(ScriptedAgent):
    """Notes what of it was given up; understands nothing until it may."""

    def __init__(self) -> None:
        super().__init__(chunks=0)
        self.may_understand = asyncio.Event()
        self.listening = 0
        self.given_up: list[str] = []

    async def transcribe(self, clip: Clip) -> str | None:
        self.listening += 1
        try:
            await self.may_understand.wait()
        except asyncio.CancelledError:
            self.given_up.append("transcription")
            raise
        return "hello"

    async def answer(self, call: Call, asked: Asked) -> None:
        self.turns.append(asked)
        async with call.speak() as speech:
            await write(speech, "Let me see. ")
            try:
                await self.may_go_on.wait()
            except (SpeechInterrupted, asyncio.CancelledError):
                self.given_up.append("reply")
                raise
            await write(speech, "Here.")


async def speak(pod: Pod, caller: Caller) -> None:
    """A turn of the caller's, committed and to be understood."""
    live = pod.owned.by_id[caller.call_id]
    live.feed(AppendAudio(FRAME * 30, None, (VoiceBoundary(True, 0),)))
    live.feed(AppendAudio(FRAME * 10, None, (VoiceBoundary(False, 30 * len(FRAME)),)))
    await caller.transport.event("input_audio_buffer.committed")


async def test_a_reply_that_is_cancelled_is_made_no_longer() -> None:
    """The agent is stopped where it waits, and answers the next turn."""
    agent = WatchedAgent()
    agent.may_go_on.clear()
    async with rig(None, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        caller.transport.say(CANCEL)
        done = await caller.transport.event("response.done")
        assert done["response"]["status"] == "cancelled"
        await until(lambda: agent.given_up)
        assert agent.given_up == ["reply"]
        agent.may_go_on.set()
        caller.transport.say(ANSWER)
        done = await caller.transport.event("response.done", 2)
        assert done["response"]["status"] == "completed"


class StubbornAgent(ScriptedAgent):
    """Does not end when it is cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.swallowed = False

    async def answer(self, call: Call, asked: Asked) -> None:
        async with call.speak() as speech:
            await write(speech, "I go on. ")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            self.swallowed = True
            await self.may_go_on.wait()


async def test_an_agent_that_does_not_stop_holds_no_call_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handoff goes on without it, and the log names it; one that stops in time is waited for."""
    monkeypatch.setattr(live_call, "STOPS_WITHIN_S", 0.01)
    agent = StubbornAgent()
    agent.may_go_on.clear()
    async with rig(None, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        live = pod.owned.by_id[caller.call_id]
        with capture_logs() as logs:
            await asyncio.wait_for(live.stop_work(), PATIENCE_S)
        assert agent.swallowed
        assert [line["agent"] for line in logs if line["event"] == "an agent does not stop"] == ["scripted"]
        agent.may_go_on.set()
        with capture_logs() as logs:
            await live.stop_work()
        assert logs == []


async def test_a_reply_waits_until_the_turn_is_understood() -> None:
    """The agent is asked with the words of the caller."""
    agent = WatchedAgent()
    async with rig(None, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await speak(pod, caller)
        await caller.transport.event("response.created")
        await until(lambda: agent.listening)
        await pod.owned.by_id[caller.call_id].writer.wait_durable()
        assert agent.turns == []
        agent.may_understand.set()
        await caller.transport.event("response.done")
        assert agent.turns[0].items[0]["content"][0]["transcript"] == "hello"


@pytest.mark.parametrize("is_fenced", [False, True])
async def test_what_is_done_for_a_call_ends_with_it(is_fenced: bool) -> None:
    """Whether its caller hung up or another pod has it: nothing goes on for nobody."""
    agent = WatchedAgent()
    store = MemoryStore(ttl_s=60)
    async with rig(store, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        await speak(pod, caller)
        await until(lambda: agent.listening)
        if is_fenced:
            await store.claim(Claim(caller.call_id, "other", "green", 0, None, "other"))
            caller.transport.say(TYPED)
            await caller.task
        else:
            await caller.gone(1000)
        await until(lambda: agent.given_up)
        assert agent.given_up == ["transcription"]
        assert pod.view.calls() == []


async def test_a_reply_ends_when_another_pod_has_the_call() -> None:
    """Two pods never both speak on a call."""
    agent = WatchedAgent()
    agent.may_go_on.clear()
    store = MemoryStore(ttl_s=60)
    async with rig(store, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        await store.claim(Claim(caller.call_id, "other", "green", 0, None, "other"))
        caller.transport.say(TYPED)
        await caller.task
        await until(lambda: agent.given_up)
        assert agent.given_up == ["reply"]


async def test_a_pause_that_began_before_a_take_over_ends_the_turn_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next owner listens to the end of what was saved; it would else wait for a pause that has been."""
    monkeypatch.setattr(muted, "MUTED_S", float("inf"))
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green")
        caller = await its.start(blue, resumable=True)
        live = blue.owned.by_id[caller.call_id]
        live.feed(AppendAudio(FRAME * 150, None, (VoiceBoundary(True, 0),)))
        await caller.transport.event("input_audio_buffer.speech_started")
        assert live.call.input_audio.speaking
        await live.hand_off()
        await caller.task
        again = await its.resume(green, caller.call_id, 0)
        await again.transport.event("input_audio_buffer.speech_stopped")
        await again.transport.event("response.created")


async def test_an_utterance_under_way_goes_on_after_a_take_over() -> None:
    """What the caller says then belongs to the same turn."""
    async with rig() as its:
        blue, green = await its.pod("blue"), await its.pod("green", "green")
        caller = await its.start(blue, resumable=True)
        live = blue.owned.by_id[caller.call_id]
        live.feed(AppendAudio(FRAME * 5, None, (VoiceBoundary(True, 0),)))
        await caller.transport.event("input_audio_buffer.speech_started")
        await live.hand_off()
        await caller.task
        again = await its.resume(green, caller.call_id, 0)
        assert (await again.greeting())["session"]["call"]["input_audio_ms"] == 100
        taken = green.owned.by_id[caller.call_id]
        assert taken.call.input_audio.speaking
        taken.feed(AppendAudio(FRAME * 10, None))
        taken.feed(CommitAudio())
        await again.transport.event("input_audio_buffer.committed")
        entry = taken.call.conversation.get(taken.call.conversation.last_id or "")
        assert entry is not None
        assert entry.audio_ms == 300


async def test_a_handoff_of_a_call_without_a_connection_is_none() -> None:
    """It is parked already, and stays for whoever comes."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        await caller.greeting()
        await caller.gone()
        live = pod.owned.by_id[caller.call_id]
        await live.hand_off()
        assert not live.call.lifecycle.handed_off


async def test_what_a_caller_sends_again_is_listened_to_from_its_start() -> None:
    """What was not saved is forgotten, and so must be what was heard in it; else boundaries would be off by it."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod, resumable=True)
        live = pod.owned.by_id[caller.call_id]
        for seconds in (0, 1):
            listening = live.listening.endpointer
            for _ in range(50 * seconds):
                live.feed(AppendAudio(FRAME, None))
            await caller.gone()
            caller = await its.resume(pod, caller.call_id)
            await caller.greeting()
            assert (live.listening.endpointer is listening) is not bool(seconds)


async def test_frames_of_a_caller_are_counted() -> None:
    """Each once, whether anything is heard in it or not."""
    async with rig() as its:
        pod = await its.pod()
        caller = await its.start(pod)
        for _ in range(7):
            caller.transport.say({"type": "input_audio_buffer.append", "audio": "AAAA" * 320})
        caller.transport.say(TYPED)
        await caller.transport.event("conversation.item.done")
        assert pod.observer.frames.came == 7


async def test_a_call_that_was_written_is_not_asked_about_again_at_once() -> None:
    """Once in a while, however often somebody looks: a pod of a thousand silent calls would else write all the time."""
    clock = LeapingClock()
    async with rig() as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod)
        await caller.greeting()
        live = pod.owned.by_id[caller.call_id]
        await live.writer.wait_durable()
        for _ in range(3):
            clock.leap(ASK_EPOCH_S + 0.1)
            await pod.upkeep.look_after_calls()
            assert pod.committer.has_pending(live.writer)
            await live.writer.wait_durable()
            await pod.upkeep.look_after_calls()
            assert not pod.committer.has_pending(live.writer)
