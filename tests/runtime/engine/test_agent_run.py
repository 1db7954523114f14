"""An agent handles the events of a call: each is acknowledged, and what goes wrong ends it and nothing else.

Tests of `agent_run`, `agent_call`, `handling`, `notices`, `pacing` and `work`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest.mock import patch

import pytest
from structlog.testing import capture_logs

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.clocks import LeapingClock, StoppedClock
from tests.runtime.engine.agents import Acting, SpellingVoice
from tests.runtime.engine.crashes import engine_call, settled, stored, taken_over
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.call.inputs import AppendAudio, CancelResponse, CreateItem, CreateResponse, VoiceBoundary
from voice_agent.call.status import Status
from voice_agent.kit.call import Call, IdempotencyKey, KeyReused
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.events import Asked, Ended, Event, Heard, Interrupted, Started, Timer, ToolResult
from voice_agent.kit.speech import SpeechInterrupted
from voice_agent.kit.voice import Utterance, Voice, VoiceFailed
from voice_agent.runtime.durability.call_writer import MAX_UNSAVED_BYTES
from voice_agent.runtime.engine import agent_run
from voice_agent.runtime.engine.agent_run import SILENT_S, AgentRun
from voice_agent.runtime.engine.agent_steps import BLOCKED_S
from voice_agent.runtime.engine.apology import WORDS
from voice_agent.runtime.engine.audio_pacer import CHUNK_MS
from voice_agent.runtime.engine.voicing import VOICE_LOADS_WITHIN_S
from voice_agent.runtime.engine.work import NoEvent
from voice_agent.speech.speech_work import WORK, SpeechWork

Act = Callable[[Call, Event], Awaitable[Any]]


def when(kind: type[Event], act: Callable[[Call], Awaitable[Any]]) -> Act:
    """Act on events of one kind."""

    async def acting(call: Call, event: Event) -> None:
        if isinstance(event, kind):
            await act(call)

    return acting


async def begun(its: Alone) -> None:
    """The call has started, and its agent knows."""
    its.attach()
    await until(lambda: its.call.agent is not None and not its.call.agent.waiting)


def said(its: Alone) -> list[str]:
    """What the assistant has said, item by item."""
    return [
        part.get("transcript") or part.get("text") or ""
        for item in its.call.conversation.items()
        if item.get("role") == "assistant"
        for part in item["content"]
    ]


async def test_what_the_caller_said_is_told_before_the_reply_is_asked_for() -> None:
    """Though the response is open sooner: it is not known yet what was said."""
    agent = Acting()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        audio = bytes(48 * 20)
        size = len(audio)
        its.live.feed(AppendAudio(audio * 25, None, (VoiceBoundary(True, 0), VoiceBoundary(False, 25 * size))))
        assert its.call.response is not None
        await until(lambda: agent.kinds == ["Started", "Heard", "Asked"])
        heard, asked = agent.events[1:]
        assert isinstance(heard, Heard)
        assert isinstance(asked, Asked)
        assert (heard.text, asked.text, len(asked.clip.audio) if asked.clip else 0) == ("hello", "hello", 25 * size)


async def test_state_is_kept_with_the_acknowledgement_and_not_before() -> None:
    """Another pod finds it as it was when the event was not acknowledged."""
    may_go_on = asyncio.Event()

    async def count(call: Call) -> None:
        call.state["count"] = call.state.get("count", 0) + 1
        await may_go_on.wait()

    agent = Acting(when(Asked, count))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: agent.kinds[-1:] == ["Asked"])
        await its.committer.flush(its.live.writer)
        assert its.call.dialogue.agent_state == {}
        may_go_on.set()
        await settled(its)
        assert its.call.dialogue.agent_state == {"count": 1}


@pytest.mark.parametrize(
    "act",
    [
        lambda call: call.once("key", _one),
        lambda call: call.speak("key").__aenter__(),
        lambda call: call.call_tool("key", "look", {}),
    ],
)
async def test_a_key_that_is_used_twice_in_one_event_is_refused(act: Callable[[Call], Awaitable[Any]]) -> None:
    """By whichever act it was used first."""
    raised: list[str] = []

    async def twice(call: Call) -> None:
        await call.once("key", _one)
        try:
            await act(call)
        except KeyReused as error:
            raised.append(error.key)

    async with alone(engine_call(), Acting(when(Started, twice))) as its:
        await begun(its)
    assert raised == ["key"]


async def _one(key: str) -> int:
    return 1


async def test_an_agent_that_raises_is_named_once_and_the_caller_hears_an_apology() -> None:
    """The event is over, the call lives, and the next event is handled by a new run."""
    broken = [True]

    async def fail(call: Call) -> None:
        if broken.pop() if broken else False:
            raise ValueError("broken")
        async with call.speak() as speech:
            await speech.text("Fine.")

    agent = Acting(when(Asked, fail))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        with capture_logs() as logs:
            its.live.feed(CreateResponse({}))
            await settled(its)
        assert [entry["agent"] for entry in logs if entry["event"] == "agent failed"] == ["acting"]
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert said(its) == [WORDS, "Fine."]
        assert agent.runs == 2
        assert its.observer.counts["agent_fault", "raised"] == 1


async def test_a_voice_that_fails_is_named_and_the_caller_hears_an_apology() -> None:
    """What was wrong with it is counted; an agent that would rather handle it may."""

    class Broken(Voice):
        name = "broken"

        async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
            if utterance.text == "Wrong.":
                yield VoicedAudio(b"1", PCM)
            self.clock.now_s += BLOCKED_S
            yield VoicedAudio(bytes(PCM.size(100)), PCM)

        clock: StoppedClock

    handles: list[bool] = []

    async def speak(call: Call) -> None:
        async with call.speak() as speech:
            try:
                await speech.text("Wrong.")
            except VoiceFailed:
                if not handles:
                    raise
                await speech.text("Right.")

    voice = Broken()
    agent = Acting(when(Asked, speak), voice)
    async with alone(engine_call(), agent) as its:
        voice.clock = its.clock
        await begun(its)
        with capture_logs() as logs:
            its.live.feed(CreateResponse({}))
            await settled(its)
            handles.append(True)
            its.live.feed(CreateResponse({}))
            await settled(its)
        assert [entry["reason"] for entry in logs if entry["event"] == "agent failed"] == [
            "The voice 'broken' gave 1 bytes of audio/pcm, which is no whole number of samples."
        ]
        assert [entry["voice"] for entry in logs if "blocks the event loop" in entry["event"]] == ["broken"]
        assert its.observer.counts["agent_fault", "no_part"] == 1
        assert its.observer.counts["agent_fault", "blocked"] == 1
        assert said(its) == ["Wrong.", WORDS, "Wrong.Right."]


async def test_an_agent_that_fails_where_no_reply_is_due_says_nothing() -> None:
    """Its event is over all the same."""

    async def fail(call: Call) -> None:
        raise ValueError("broken")

    async with alone(engine_call(), Acting(when(Started, fail))) as its:
        await begun(its)
        assert said(its) == []
        assert its.call.response is None


@pytest.mark.parametrize("handles", [True, False])
async def test_a_reply_that_is_cancelled_interrupts_its_handler_wherever_it_waits(handles: bool) -> None:
    """One that does not handle that is over with its event, and the next is handled all the same."""
    seen: list[str] = []

    async def wait(call: Call) -> None:
        try:
            async with call.speak() as speech:
                await speech.text("Hello. ")
                await asyncio.Event().wait()
        except SpeechInterrupted:
            seen.append("interrupted")
            if not handles:
                raise
            assert (await call.once("clean up", _one)) == 1
            seen.append("cleaned up")

    agent = Acting(when(Asked, wait))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.text == "Hello. ")
        await turns_pass()
        its.live.feed(CancelResponse())
        await settled(its)
        assert seen == (["interrupted", "cleaned up"] if handles else ["interrupted"])
        assert agent.runs == (1 if handles else 2)
        [told] = [event for event in agent.events if isinstance(event, Interrupted)]
        assert told.text in ("Hello.", "Hello. ")


async def _say(call: Call) -> None:
    async with call.speak():
        pass


@pytest.mark.parametrize(
    "after",
    [
        _say,
        lambda call: call.once("more", _one),
        lambda call: call.call_tool("tool", "look_up", "{}"),
        lambda call: call.transfer("+4930123"),
        lambda call: call.hang_up(),
    ],
    ids=["speech", "side effect", "tool", "transfer", "hang-up"],
)
async def test_a_handler_that_was_interrupted_is_interrupted_on_the_next_pod_too(
    after: Callable[[Call], Awaitable[Any]],
) -> None:
    """Though nothing was being said: with the first act that was not begun before, and once."""
    goes_on, seen = [False], []

    async def book(key: str) -> int:
        return 1 if goes_on[0] else await asyncio.Event().wait()

    async def act(call: Call) -> None:
        try:
            await call.once("book", book)
            await after(call)
        except SpeechInterrupted:
            seen.append("interrupted")
            if not goes_on[0]:
                await asyncio.Event().wait()
            seen.append(await call.once("undo", _one))

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: bool(its.call.agent and its.call.agent.acts))
        await turns_pass()
        its.live.feed(CancelResponse())
        await until(lambda: seen == ["interrupted"])
        snapshot = await stored(its)
    goes_on[0] = True
    async with alone(taken_over(snapshot), Acting(when(Asked, act))) as its:
        its.attach()
        its.live.resume_work()
        await settled(its)
        assert seen == ["interrupted", "interrupted", 1]
        assert (said(its), its.call.response) == ([], None)
        assert its.call.lifecycle.status is not Status.ENDED


async def test_a_reply_that_is_cancelled_before_its_agent_has_seen_it_is_never_asked_for() -> None:
    """Nobody has begun it, here or on another pod."""
    agent = Acting()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        its.live.feed(CancelResponse())
        await settled(its)
        assert agent.kinds == ["Started"]
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert agent.kinds == ["Started", "Asked"]


async def test_an_agent_that_falls_silent_is_given_up() -> None:
    """After half a minute without a sign of it; the caller hears an apology, and the next event is handled."""
    silent = [True]

    async def wait(call: Call) -> None:
        if silent:
            silent.clear()
            await asyncio.Event().wait()

    async with alone(engine_call(), Acting(when(Asked, wait))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.clock.now_s += SILENT_S - 1
        its.live.responder.stop_silent()
        assert its.call.response is not None
        its.clock.now_s += 1
        its.live.responder.stop_silent()
        assert its.call.response is None
        assert said(its) == [WORDS]
        its.live.feed(CreateResponse({}))
        await settled(its)


async def test_nobody_waits_for_ever_for_a_voice_to_load() -> None:
    """It says so, and never ends."""

    class LoadingVoice(SpellingVoice):
        is_loading = True

    async def wait(_: Call) -> None:
        await asyncio.Event().wait()

    async with alone(engine_call(), Acting(when(Asked, wait), LoadingVoice())) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        for _ in range(2):
            its.clock.now_s += VOICE_LOADS_WITHIN_S
            its.live.responder.stop_silent()
        assert its.call.response is None


async def test_who_waits_for_a_voice_to_load_is_not_silent() -> None:
    """The time counts from when it has."""

    class LoadingVoice(SpellingVoice):
        is_loading = True

    async def wait(_: Call) -> None:
        await asyncio.Event().wait()

    voice = LoadingVoice()
    async with alone(engine_call(), Acting(when(Asked, wait), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.clock.now_s += SILENT_S
        its.live.responder.stop_silent()
        voice.is_loading = False
        its.live.responder.stop_silent()
        assert its.call.response is not None
        its.clock.now_s += SILENT_S
        its.live.responder.stop_silent()
        assert its.call.response is None


async def test_who_waits_for_the_store_is_not_silent() -> None:
    """What is done once is not begun before that is durable, nor is it told what it gave."""
    done: list[str] = []

    async with alone(engine_call(), agent := Acting()) as its:

        async def note(key: IdempotencyKey) -> str:
            done.append(key)
            await its.live.writer.pause_writes()
            return "done"

        async def act(call: Call, event: Event) -> None:
            if isinstance(event, Asked):
                done.append(await call.once("note", note))

        agent.act = act
        await begun(its)
        await its.live.writer.pause_writes()
        its.live.feed(CreateResponse({}))
        for begun_or_done in ([], [f"{its.call.call_id}:asked_2b214230f6c5985c3a596327"]):
            await until(lambda is_so=begun_or_done: done == is_so)
            await turns_pass()
            its.clock.now_s += 2 * SILENT_S
            its.live.responder.stop_silent()
            assert (its.call.response is not None, done) == (True, begun_or_done)
            its.live.writer.resume_writes()
        await settled(its)
        assert done[1:] == ["done"]


async def test_what_an_agent_understood_is_durable_once_that_returns() -> None:
    """Who waits for that is not silent."""
    told: list[str] = []

    async def act(call: Call) -> None:
        [item] = call.items
        await call.transcribed(item["id"], "hello")
        told.append(item["id"])

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        await its.live.writer.pause_writes()
        its.live.feed(AppendAudio(bytes(48 * 500), None, (VoiceBoundary(True, 0), VoiceBoundary(False, 48 * 500))))
        await until(lambda: its.call.agent is not None and not its.call.clips.untranscribed)
        await turns_pass()
        its.clock.now_s += 2 * SILENT_S
        its.live.responder.stop_silent()
        assert (its.call.response is not None, told) == (True, [])
        its.live.writer.resume_writes()
        await settled(its)
        assert len(told) == 1


async def test_a_long_sentence_waits_for_a_store_that_is_behind() -> None:
    """Within one sentence, too, no more of it is held than may be; the rest is said once there is room."""
    voice = SpellingVoice(ms_a_char=10_000)

    async def say(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Good morning to you all.")

    async with alone(engine_call(), Acting(when(Asked, say), voice)) as its:
        await begun(its)
        await its.live.writer.pause_writes()
        its.live.feed(CreateResponse({}))
        await until(lambda: its.live.writer.is_backlogged)
        await turns_pass(500)
        assert its.call.outbox.unsaved_bytes < MAX_UNSAVED_BYTES + PCM.size(CHUNK_MS) * 2
        its.live.writer.resume_writes()
        await settled(its)


async def test_a_task_that_is_closed_runs_no_agent_again() -> None:
    """As at the end of an interpreter: nothing is taken for a fault of the agent."""
    async with alone(engine_call(), agent := Acting()) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        assert isinstance(its.live.responder, AgentRun)
        driving = its.live.responder._drive()
        driving.send(None)
        assert agent.runs == 2, "the task of the call, and this one"
        driving.close()
        assert ("agent_fault", "raised") not in its.observer.counts


async def test_an_agent_that_never_asks_is_run_once_more_at_the_end() -> None:
    """It could tidy up; it does not run for ever."""

    class Indifferent(Acting):
        async def run(self, call: Call) -> None:
            self.runs += 1

    agent = Indifferent()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        runs = agent.runs
        its.live.finish("timeout")
        await turns_pass(100)
        assert agent.runs == runs + 1


async def test_a_timer_rings_at_its_time_and_no_other_does() -> None:
    """Another takes its place; with the call it goes."""
    async with alone(engine_call()) as its:
        run = its.live.responder
        assert isinstance(run, AgentRun)
        rung: list[float] = []
        clock = run._clock = LeapingClock()
        run.work.feed = lambda event: rung.append(clock.wall_ms())
        now_ms = clock.wall_ms()
        run.set_timer(now_ms + 100_000)
        run.set_timer(now_ms + 300_000)
        await turns_pass()
        clock.leap(250)
        await turns_pass()
        assert rung == []
        clock.leap(50)
        await until(lambda: rung)
        assert rung[0] >= now_ms + 300_000
        for stop in (lambda: run.set_timer(None), run.cancel, lambda: run.ended("timeout")):
            run.set_timer(clock.wall_ms() + 100_000)
            await turns_pass()
            stop()
            clock.leap(200)
            await turns_pass()
        assert len(rung) == 1


async def test_a_timer_outlives_an_event_that_was_given_up() -> None:
    """It rings as if the agent had not hung; what an agent has made is made for its call."""
    works: list[SpeechWork | None] = []

    class HeldClock(StoppedClock):
        may_go_on = asyncio.Event()

        async def sleep(self, seconds: float) -> None:
            await self.may_go_on.wait()
            await super().sleep(seconds)

    async def act(call: Call, event: Event) -> None:
        works.append(WORK.get())
        if isinstance(event, Started):
            await call.at("remind", 1_000_000 + 500_000)
        if isinstance(event, Asked):
            await asyncio.Event().wait()

    async with alone(engine_call(), agent := Acting(act)) as its:
        run = its.live.responder
        assert isinstance(run, AgentRun)
        run._clock = HeldClock()
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.clock.now_s += SILENT_S
        run.stop_silent()
        assert its.call.response is None
        its.clock.now_s += 500
        run._clock.may_go_on.set()
        await until(lambda: agent.kinds[-1:] == ["Timer"])
        assert {work.call_id if work is not None else "" for work in works} == {its.call.call_id}


async def test_a_timer_of_the_next_millisecond_is_waited_for() -> None:
    """None comes early."""
    async with alone(engine_call()) as its:
        run = its.live.responder
        assert isinstance(run, AgentRun)
        rung: list[int] = []
        run.work.feed = lambda event: rung.append(its.clock.wall_ms())
        now_ms = its.clock.wall_ms()
        run.set_timer(now_ms + 1)
        await until(lambda: rung)
        assert rung == [now_ms + 1]


async def test_an_interruption_of_another_event_is_none_of_the_handlers() -> None:
    """That one is over."""
    may_go_on = asyncio.Event()

    async def wait(call: Call) -> None:
        await may_go_on.wait()
        call.state["done"] = True

    async with alone(engine_call(), Acting(when(Asked, wait))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.live.responder.interrupt(99)
        await turns_pass()
        may_go_on.set()
        await settled(its)
        assert its.call.dialogue.agent_state == {"done": True}


async def test_who_ends_the_call_is_not_interrupted_by_that() -> None:
    """It goes on to its end, and is told of the call's."""
    done: list[str] = []

    async def hang_up(call: Call) -> None:
        await call.hang_up("bye")
        await asyncio.sleep(0)
        done.append("after")

    agent = Acting(when(Asked, hang_up))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: agent.kinds[-1:] == ["Ended"])
    assert done == ["after"]


async def test_an_agent_that_does_not_go_at_the_end_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had prepared to be said is dropped at once."""
    monkeypatch.setattr(agent_run, "ENDS_WITHIN_S", 0.01)
    ended: list[type[BaseException]] = []

    async def act(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                speech.prepare("Hello there.")
                await asyncio.Event().wait()
        if isinstance(event, Ended):
            try:
                await asyncio.Event().wait()
            except BaseException as error:
                ended.append(type(error))
                raise

    async with alone(engine_call(), Acting(act)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: its.live.responder.prepared_bytes)
        its.live.finish("timeout")
        assert its.live.responder.prepared_bytes == 0
        await until(lambda: ended == [asyncio.CancelledError])


async def test_an_agent_that_returns_before_the_end_is_told_of_and_run_again() -> None:
    """Each event is handled by a run of its own, then."""

    class Returning(Acting):
        async def run(self, call: Call) -> None:
            self.runs += 1
            async for event in call.events():
                self.events.append(event)
                return

    agent = Returning()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert agent.kinds == ["Started", "Asked"]
        assert its.observer.counts["agent_fault", "returned"] == 2


@pytest.mark.parametrize("error", [ValueError("broken"), SpeechInterrupted()])
async def test_an_agent_that_raises_before_it_takes_an_event_takes_each_down_once(error: Exception) -> None:
    """It does not run for ever, also where it raises what the server raises in handlers."""

    class Broken(Acting):
        async def run(self, call: Call) -> None:
            self.runs += 1
            raise error

    agent = Broken()
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert agent.runs == 2


async def test_a_timer_comes_when_it_is_due_and_on_the_next_pod_if_it_was_overdue() -> None:
    """It is an event like any other, and comes once."""

    async def remind(call: Call) -> None:
        await call.at("remind", 1_000_000 + 500)

    agent = Acting(when(Started, remind))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        await until(lambda: any(isinstance(event, Timer) for event in agent.events))
    async with alone(engine_call(), Acting(when(Started, remind))) as its:
        with patch.object(AgentRun, "set_timer", lambda run, when_ms: None):
            await begun(its)
        snapshot = await stored(its)
    other = Acting()
    async with alone(taken_over(snapshot), other) as its:
        its.clock.now_s += 3600
        its.attach()
        its.live.resume_work()
        await settled(its)
        await until(lambda: any(isinstance(event, Timer) for event in other.events))
    assert [event.name for event in other.events if isinstance(event, Timer)] == ["remind"]


async def test_what_the_clients_tools_gave_is_told() -> None:
    """It informs, and a reply is due only when the client asks for one."""
    agent = Acting()
    output = {"type": "function_call_output", "call_id": "call_x", "output": "42"}
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateItem(output))
        await settled(its)
        [told] = [event for event in agent.events if isinstance(event, ToolResult)]
        assert (told.tool_call_id, told.output) == ("call_x", "42")
        assert its.call.response is None


async def test_an_unprompted_speech_opens_a_response_that_ends_with_its_event() -> None:
    """A greeting."""

    async def greet(call: Call) -> None:
        async with call.speak("greeting") as speech:
            await speech.text("Welcome.")

    async with alone(engine_call(), Acting(when(Started, greet))) as its:
        connection = its.attach()
        await settled(its)
        assert said(its) == ["Welcome."]
        assert connection.pushed.count("response.done") == 1


async def test_a_speech_within_a_speech_is_refused() -> None:
    """One thing is said at a time."""
    raised: list[str] = []

    async def nested(call: Call) -> None:
        async with call.speak("outer"):
            try:
                async with call.speak("inner"):
                    pass
            except RuntimeError as error:
                raised.append(str(error))

    async with alone(engine_call(), Acting(when(Started, nested))) as its:
        await begun(its)
    assert len(raised) == 1
    assert "'inner'" in raised[0]


@pytest.mark.parametrize("transfers", [True, False])
async def test_an_agent_hangs_up_once_all_was_heard(transfers: bool) -> None:
    """The call ends with its reason, and the agent is told."""

    async def bye(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Bye.")
        if transfers:
            await call.transfer("tel:+15550100")
        else:
            await call.hang_up("done")

    agent = Acting(when(Asked, bye))
    async with alone(engine_call(), agent) as its:
        connection = its.attach()
        its.live.feed(CreateResponse({}))
        await until(lambda: agent.kinds[-1:] == ["Ended"])
        ended = agent.events[-1]
        assert isinstance(ended, Ended)
        assert ended.outcome == ("transferred" if transfers else "agent")
        assert its.clock.wall_ms() >= 1_000_000 + len("Bye.") * 60
        await its.committer.flush(its.live.writer)
        await turns_pass()
        assert ("call.transfer" in connection.pushed) is transfers


async def test_the_end_of_a_call_interrupts_its_handler_and_is_told() -> None:
    """Whatever the agent was doing."""

    async def wait(call: Call) -> None:
        await asyncio.Event().wait()

    agent = Acting(when(Asked, wait))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.live.finish("timeout")
        await until(lambda: agent.kinds[-1:] == ["Ended"])


async def test_a_handler_that_the_end_interrupts_has_the_state_that_it_changed() -> None:
    """What is kept of it is another matter: the event is not acknowledged."""
    seen: list[dict[str, object]] = []

    async def change(call: Call) -> None:
        call.state["asked"] = True
        try:
            await asyncio.Event().wait()
        finally:
            seen.append(dict(call.state))

    agent = Acting(when(Asked, change))
    async with alone(engine_call(), agent) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.live.finish("timeout")
        await until(lambda: seen)
    assert seen == [{"asked": True}]


async def test_the_next_event_is_waited_for_once_at_a_time() -> None:
    """Whoever asks for it a second time is told so at once; whoever waits gets it."""

    class Twice(Acting):
        async def run(self, call: Call) -> None:
            self.events.append(await anext(call.events()))
            waiting = asyncio.ensure_future(anext(call.events()))
            await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="waited for already"):
                await anext(call.events())
            self.events.append(await waiting)
            await super().run(call)

    agent = Twice()
    async with alone(engine_call(), agent) as its:
        its.attach()
        await until(lambda: agent.kinds == ["Started"])
        await turns_pass()
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert agent.kinds == ["Started", "Asked"]
        assert ("agent_fault", "raised") not in its.observer.counts


async def test_an_act_outside_an_event_is_refused() -> None:
    """The author is told what to do."""
    raised: list[str] = []

    class Early(Acting):
        async def run(self, call: Call) -> None:
            try:
                await call.once("key", _one)
            except NoEvent as error:
                raised.append(str(error))
            with pytest.raises(NoEvent):
                call.state  # noqa: B018  # it raises
            await super().run(call)

    async with alone(engine_call(), Early()) as its:
        await begun(its)
    assert raised == ["An agent acts in an event: ask `call.events()` for one first."]


async def test_an_agent_without_a_voice_that_has_to_speak_has_failed() -> None:
    """The reason is in the log."""

    async def speak(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hello.")

    agent = Acting(when(Asked, speak))
    agent.voice = None
    async with alone(engine_call(), agent) as its:
        await begun(its)
        with capture_logs() as logs:
            its.live.feed(CreateResponse({}))
            await settled(its)
    assert any("no voice" in entry.get("reason", "") for entry in logs)
