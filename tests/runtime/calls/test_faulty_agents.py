"""Whatever an agent does wrong, the caller hears one apology, the call lives, and the log says whose fault it was.

Tests of `engine.apology`, too.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.call.calls import emitted, feed, new_call, response_id
from tests.runtime.calls.test_responding import RecordingHost
from tests.runtime.clocks import LeapingClock, StoppedClock
from tests.runtime.rig import ANSWER, TYPED, CountingObserver, rig
from tests.waiting import PATIENCE_S
from voice_agent.agents.base import Audio, Plan, Text, Turn
from voice_agent.agents.turns import said_since_last_reply
from voice_agent.call import inputs
from voice_agent.call.audio import FORMATS, PCM
from voice_agent.kit.clip import Clip
from voice_agent.runtime.calls.responding import SILENT_S, ResponseRun
from voice_agent.runtime.engine.agent_steps import BLOCKED_S, STUCK_S, StepWatch, StuckSteps, Watched
from voice_agent.runtime.engine.apology import WORDS, apology
from voice_agent.speech.synthesis import speak

Fault = Callable[["Faulty"], AsyncIterator[Any]]


class Faulty:
    """Does something wrong, until it is mended."""

    name = "faulty"
    lead_ms = 60_000
    replays = True
    mirrors = False

    def __init__(self, fault: Any = None) -> None:
        self.fault = fault
        self.turns: list[Turn] = []
        self.clock = StoppedClock()

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        return None

    def reply(self, turn: Turn) -> AsyncIterator[Any]:
        self.turns.append(turn)
        made: AsyncIterator[Any] = self.fault(self) if self.fault is not None else answer(turn)
        return made


async def answer(turn: Turn) -> AsyncIterator[Any]:
    yield Text(f"You said {said_since_last_reply(turn.items, failed_to=turn.failed_to).text}.")


def not_a_generator(_: Faulty) -> Any:
    return ["Hello."]


async def not_even_waited_for(_: Faulty) -> Any:
    return ["Hello."]


def raises_at_once(_: Faulty) -> Any:
    raise RuntimeError("at once")


async def raises_at_once_when_asked(_: Faulty) -> AsyncIterator[Any]:
    raise RuntimeError("asked")
    yield


async def raises(_: Faulty) -> AsyncIterator[Any]:
    yield Text("One. ")
    yield Audio(bytes(PCM.size(1000)), PCM)
    raise RuntimeError("later")


async def leaves(_: Faulty) -> AsyncIterator[Any]:
    yield Text("One. ")
    sys.exit(3)


async def waits_for_what_is_cancelled(_: Faulty) -> AsyncIterator[Any]:
    yield Text("One. ")
    waits = asyncio.get_running_loop().create_future()
    waits.cancel()
    await waits


def yields(part: Any) -> Fault:
    async def reply(_: Faulty) -> AsyncIterator[Any]:
        yield Text("One. ")
        yield part

    return reply


RAISING = [not_a_generator, not_even_waited_for, raises_at_once, raises, leaves, waits_for_what_is_cancelled]
NO_PARTS = [
    "Hello.",
    None,
    Text(3),  # type: ignore[arg-type]
    Text("half of a pair: \ud83d"),
    Audio(b"\0\0\0", PCM),
    Audio([0, 0], PCM),  # type: ignore[arg-type]
    Audio(bytes(960), PCM, [[100, 5], [50, 7]]),
    Audio(bytes(960), PCM, [["soon", 5]]),  # type: ignore[list-item]
    Plan({"at": object()}, {}),
    Plan({}, ["state"]),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("fault", [*RAISING, *map(yields, NO_PARTS)])
async def test_a_fault_of_an_agent_is_one_apology_and_the_next_turn_is_answered(fault: Fault) -> None:
    """The response ends as failed; the apology is an item of it, and what failed is not asked again."""
    agent = Faulty(fault)
    async with rig(None, agent) as its:
        pod = await its.pod()
        caller = await its.start(pod, "faulty")
        with capture_logs() as logs:
            caller.transport.say(TYPED)
            caller.transport.say(ANSWER)
            done = await caller.transport.event("response.done")
        assert done["response"]["status"] == "failed"
        assert done["response"]["status_details"]["error"]["code"] == "agent_failed"
        *before, last = done["response"]["output"]
        assert last["content"] == [{"type": "output_audio", "transcript": WORDS}]
        assert last["status"] == "completed"
        assert [item["status"] for item in before] == ["incomplete"] * len(before)
        events = caller.transport.events
        spoken = [e for e in events if e["type"] == "response.output_audio.delta" and e["item_id"] == last["id"]]
        assert len(spoken) == len(apology(PCM).audio) // PCM.size(100) + 1
        [told] = [line for line in logs if line["event"] == "agent failed to reply"]
        assert told["agent"] == "faulty"
        counts: Any = pod.observer
        assert sum(n for (name, _), n in counts.counts.items() if name == "agent_fault") == 1
        agent.fault = None
        caller.transport.say({**TYPED, "item": {**TYPED["item"], "content": [{"type": "input_text", "text": "ho"}]}})  # type: ignore[dict-item]
        caller.transport.say(ANSWER)
        done = await caller.transport.event("response.done", 2)
        assert done["response"]["output"][0]["content"][0]["transcript"] == "You said ho."
        await caller.gone(1000)


async def test_an_agent_that_cannot_even_begin_is_one_apology() -> None:
    """What is odd about it is found before it is asked for anything."""
    agent = Faulty()
    agent.lead_ms = None  # type: ignore[assignment]
    async with rig(None, agent) as its:
        caller = await its.start(await its.pod(), "faulty")
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        done = await caller.transport.event("response.done")
        assert done["response"]["output"][-1]["content"][0]["transcript"] == WORDS
        await caller.gone(1000)


async def test_an_agent_that_stays_silent_is_given_up() -> None:
    """After half a minute without a part; its task ends, too."""
    ended = asyncio.Event()

    async def silent(_: Faulty) -> AsyncIterator[Any]:
        try:
            yield Text("One moment. ")
            await asyncio.Event().wait()
        finally:
            ended.set()

    clock = LeapingClock()
    async with rig(None, Faulty(silent)) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, "faulty")
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        live = pod.owned.by_id[caller.call_id]
        live.responder.stop_silent()
        assert live.call.response is not None
        clock.leap(SILENT_S + 1)
        done = await caller.transport.event("response.done")
        assert done["response"]["status"] == "failed"
        assert done["response"]["output"][-1]["content"][0]["transcript"] == WORDS
        await ended.wait()
        await caller.gone(1000)


async def test_an_agent_that_has_failed_is_silent_no_longer() -> None:
    """The next reply waits for the caller's words, and is made however long ago the last one failed."""
    agent, clock, understood = Faulty(raises_at_once_when_asked), LeapingClock(), asyncio.Event()

    async def transcribe(_: Clip) -> str | None:
        await understood.wait()
        return "hi"

    agent.transcribe = transcribe  # type: ignore[method-assign, assignment]
    async with rig(None, agent) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, "faulty")
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.done")
        agent.fault = None
        live = pod.owned.by_id[caller.call_id]
        live.feed(inputs.AppendAudio(bytes(PCM.size(1000)), None))
        live.feed(inputs.CommitAudio())
        live.feed(inputs.CreateResponse({}))
        assert live.call.response is not None
        clock.leap(SILENT_S + 1)
        live.responder.stop_silent()
        understood.set()
        assert (await caller.transport.event("response.done", 2))["response"]["status"] == "completed"
        await caller.gone(1000)


async def _yields_on(_: Faulty) -> AsyncIterator[Any]:
    yield Text("One. ")
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    while True:
        yield Text("More. ")


async def _ends(_: Faulty) -> AsyncIterator[Any]:
    yield Text("One. ")
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def _raises_another(_: Faulty) -> AsyncIterator[Any]:
    yield Text("One. ")
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RuntimeError("I was cancelled") from None


@pytest.mark.parametrize("fault", [_yields_on, _ends, _raises_another])
async def test_a_cancellation_that_an_agent_swallows_is_one(fault: Fault) -> None:
    """Its pod closes, and the reply is under way in the store, for another pod to go on with."""
    async with rig(None, Faulty(fault)) as its:
        pod = its.unopened_pod("pod-a")
        await pod.open()
        caller = await its.start(pod, "faulty", resumable=True)
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        await caller.transport.event("response.output_audio_transcript.delta")
        await caller.gone()
        async with asyncio.timeout(PATIENCE_S):
            await pod.close()
        held = await its.store.load(caller.call_id)
        assert held is not None
        assert held.fields["response"]


@pytest.mark.parametrize("audio_format", FORMATS.values())
def test_the_apology_is_what_the_voice_says_in_every_format(audio_format: Any) -> None:
    """As long in each; in PCM to the byte."""
    assert abs(audio_format.ms(len(apology(audio_format).audio)) - PCM.ms(len(speak(WORDS).audio))) <= 1
    assert apology(PCM).audio == speak(WORDS).audio


def test_what_is_said_while_an_agent_fails_is_answered() -> None:
    """The apology stands where the answer would stand, in front of what came meanwhile."""
    call = new_call()
    typed = inputs.CreateItem({"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]})
    feed(call, typed, inputs.CreateResponse({}), typed)
    feed(call, inputs.ResponseFailed(response_id(1), "broken", apology(PCM)))
    assert [item["role"] for item in call.conversation.items()] == ["user", "assistant", "user"]
    assert said_since_last_reply(call.conversation.items(), failed_to=call.dialogue.failed_up_to).items == 1


def test_a_written_reply_has_a_written_apology_and_one_out_of_band_none() -> None:
    """No audio where none is wanted; a client that asks out of band reads the status."""
    call = new_call(output_modalities=["text"])
    feed(call, inputs.CreateResponse({}), inputs.ResponseFailed(response_id(1), "broken", apology(PCM)))
    assert emitted(call)[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": WORDS}]
    feed(call, inputs.CreateResponse({"conversation": "none"}))
    feed(call, inputs.ResponseFailed(response_id(2), "broken", apology(PCM)))
    assert emitted(call)[-1]["response"]["output"] == []
    assert not any(entry.audio for entry in call.outbox.unsaved)


async def test_an_agent_that_blocks_the_event_loop_is_named_once() -> None:
    """However often it does in a reply; the metric counts each time."""

    async def blocks(agent: Faulty) -> AsyncIterator[Any]:
        for _ in range(3):
            agent.clock.now_s += BLOCKED_S
            yield Text("Sentence. ")
        await asyncio.sleep(0)
        agent.clock.now_s += BLOCKED_S / 2
        yield Text("That was quick.")

    agent, observer, call = Faulty(blocks), CountingObserver(), new_call()
    feed(call, inputs.CreateResponse({}))
    with capture_logs() as logs:
        await ResponseRun(RecordingHost(call, agent.clock), agent, agent.clock, observer).run()
    [told] = [line for line in logs if "blocks the event loop" in line["event"]]
    assert (told["agent"], told["seconds"]) == ("faulty", BLOCKED_S)
    assert observer.counts["agent_fault", "blocked"] == 3
    assert call.response is None


async def test_an_agent_that_never_gives_the_event_loop_back_is_named_by_a_thread() -> None:
    """With the line it is in: the loop itself can say nothing, and the pod will be killed for that."""
    stuck, told = StuckSteps(), threading.Event()

    async def hangs(agent: Faulty) -> AsyncIterator[Any]:
        looking.start()
        assert told.wait(PATIENCE_S)
        yield Text("At last.")

    def look() -> None:
        agent.clock.now_s += STUCK_S - 1
        assert not stuck.look()
        agent.clock.now_s += 1
        assert stuck.look()
        assert not stuck.look()
        told.set()

    agent, call, looking = Faulty(hangs), new_call(), threading.Thread(target=look)
    feed(call, inputs.CreateResponse({}))
    with capture_logs() as logs:
        await ResponseRun(RecordingHost(call, agent.clock), agent, agent.clock, CountingObserver()).run()
    looking.join()
    [line] = [line for line in logs if "does not end" in line["event"]]
    assert (line["agent"], line["seconds"]) == ("faulty", STUCK_S)
    assert ":" in line["line"]
    assert not stuck.look()


async def test_watching_changes_nothing_of_what_is_awaited() -> None:
    """Results, errors, and a cancellation that is thrown in and may be caught."""
    watch = StepWatch("agent", "call", StoppedClock(), CountingObserver())

    async def work(how: str) -> str:
        try:
            await (asyncio.Event().wait() if how == "cancelled" else asyncio.sleep(0))
        except asyncio.CancelledError:
            return "was cancelled"
        if how == "raises":
            raise ValueError(how)
        return how

    async def watched(how: str) -> str:
        return await Watched(work(how), watch)

    assert await watched("result") == "result"
    with pytest.raises(ValueError, match="raises"):
        await watched("raises")
    task = asyncio.create_task(watched("cancelled"))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "was cancelled"


async def test_a_side_effect_whose_result_cannot_be_kept_fails_the_reply_and_not_the_call() -> None:
    """What does not survive JSON would make the call's record unwritable."""

    async def run(_: str) -> object:
        return object()

    async def does(agent: Faulty) -> AsyncIterator[Any]:
        once: Callable[..., Awaitable[Any]] = agent.turns[-1].once
        yield Text(str(await once("effect", run)))

    async with rig(None, Faulty(does)) as its:
        caller = await its.start(await its.pod(), "faulty")
        caller.transport.say(TYPED)
        caller.transport.say(ANSWER)
        done = await caller.transport.event("response.done")
        assert done["response"]["status"] == "failed"
        await caller.gone(1000)
