"""Whatever an agent does wrong, the caller hears one apology, the call lives, and the log says whose fault it was.

Tests of `apology`, too.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.call.calls import emitted, feed, new_call
from tests.call.engine import fail
from tests.runtime.clocks import LeapingClock, StoppedClock
from tests.runtime.rig import ANSWER, TYPED, AnsweringAgent, CountingObserver, rig, write
from tests.waiting import PATIENCE_S
from voice_agent.call import inputs
from voice_agent.call.audio import FORMATS, PCM
from voice_agent.call.said_by_caller import said_since_last_reply
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import Speech
from voice_agent.runtime.engine.agent_run import SILENT_S
from voice_agent.runtime.engine.agent_steps import BLOCKED_S, STUCK_S, StepWatch, StuckSteps, Watched
from voice_agent.runtime.engine.apology import WORDS, apology
from voice_agent.speech.synthesis import speak

Fault = Callable[["Faulty", Call, Speech], Awaitable[Any]]


class Faulty(AnsweringAgent):
    """Does something wrong once it has said a word, until it is mended."""

    name = "faulty"

    def __init__(self, fault: Fault | None = None) -> None:
        super().__init__()
        self.fault = fault
        self.clock = StoppedClock()

    async def answer(self, call: Call, asked: Asked) -> None:
        async with call.speak() as speech:
            if self.fault is None:
                await write(speech, f"You said {asked.text}.")
                return
            await write(speech, "One. ")
            await self.fault(self, call, speech)


async def raises(_: Faulty, call: Call, speech: Speech) -> None:
    await speech.audio(bytes(PCM.size(1000)), PCM)
    raise RuntimeError("later")


async def leaves(_: Faulty, call: Call, speech: Speech) -> None:
    sys.exit(3)


async def waits_for_what_is_cancelled(_: Faulty, call: Call, speech: Speech) -> None:
    waits = asyncio.get_running_loop().create_future()
    waits.cancel()
    await waits


def gives(*audio: Any, text: Any = "", words: Any = ()) -> Fault:
    async def fault(_: Faulty, call: Call, speech: Speech) -> None:
        await speech.audio(*audio, text=text, words=words)

    return fault


def keeps(value: Any) -> Fault:
    async def fault(_: Faulty, call: Call, speech: Speech) -> None:
        call.state["kept"] = value

    return fault


async def has_a_group_that_fails(_: Faulty, call: Call, speech: Speech) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


async def makes_something_of_a_group_that_fails(_: Faulty, call: Call, speech: Speech) -> None:
    try:
        await has_a_group_that_fails(_, call, speech)
    except ExceptionGroup:
        raise ValueError from None


async def fails() -> None:
    await asyncio.sleep(0)
    raise KeyError("gone")


async def has_no_result(_: Faulty, call: Call, speech: Speech) -> None:
    async def run(_: str) -> object:
        return object()

    await call.once("effect", run)


async def calls_nothing(_: Faulty, call: Call, speech: Speech) -> None:
    await call.call_tool("look", None, {})  # type: ignore[arg-type]  # a mistake


WRONG = [
    raises,
    leaves,
    waits_for_what_is_cancelled,
    gives(b"\0\0", PCM, text=3),
    gives(b"\0\0", PCM, text="half of a pair: \ud83d"),
    gives(b"\0\0\0", PCM),
    gives(None, PCM),
    gives(bytes(960), PCM, text="a b", words=[[100, 5], [50, 7]]),
    gives(bytes(960), PCM, text="a b", words=[["soon", 5]]),
    keeps(object()),
    keeps("half of a pair: \ud83d"),
    has_no_result,
    calls_nothing,
    has_a_group_that_fails,
    makes_something_of_a_group_that_fails,
]


@pytest.mark.parametrize("fault", WRONG)
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
        [told] = [line for line in logs if line["event"] == "agent failed"]
        assert (told["agent"], told["kind"]) == ("faulty", "raised")
        counts: Any = pod.observer
        assert sum(n for (name, _), n in counts.counts.items() if name == "agent_fault") == 1
        agent.fault = None
        caller.transport.say({**TYPED, "item": {**TYPED["item"], "content": [{"type": "input_text", "text": "ho"}]}})  # type: ignore[dict-item]
        caller.transport.say(ANSWER)
        done = await caller.transport.event("response.done", 2)
        assert done["response"]["output"][0]["content"][0]["transcript"] == "You said ho."
        await caller.gone(1000)


async def test_an_agent_that_stays_silent_is_given_up() -> None:
    """After half a minute in which it does nothing; its handler ends, too."""
    ended = asyncio.Event()

    async def silent(_: Faulty, call: Call, speech: Speech) -> None:
        try:
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


async def _says_more(_: Faulty, call: Call, speech: Speech) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    while True:
        await write(speech, "More. ")


async def _ends(_: Faulty, call: Call, speech: Speech) -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def _raises_another(_: Faulty, call: Call, speech: Speech) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RuntimeError("I was cancelled") from None


@pytest.mark.parametrize("fault", [_says_more, _ends, _raises_another])
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
    feed(call, fail("broken", apology(PCM)))
    assert [item["role"] for item in call.conversation.items()] == ["user", "assistant", "user"]
    assert said_since_last_reply(call.conversation.items(), failed_to=call.dialogue.failed_up_to).items == 1


def test_a_written_reply_has_a_written_apology_and_one_out_of_band_none() -> None:
    """No audio where none is wanted; a client that asks out of band reads the status."""
    call = new_call(output_modalities=["text"])
    feed(call, inputs.CreateResponse({}), fail("broken", apology(PCM)))
    assert emitted(call)[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": WORDS}]
    feed(call, inputs.CreateResponse({"conversation": "none"}))
    feed(call, fail("broken", apology(PCM)))
    assert emitted(call)[-1]["response"]["output"] == []
    assert not any(entry.audio for entry in call.outbox.unsaved)


async def test_an_agent_that_blocks_the_event_loop_is_named_once() -> None:
    """However often it does in a call; the metric counts each time."""
    clock = LeapingClock()

    async def blocks(_: Faulty, call: Call, speech: Speech) -> None:
        for _number in range(3):
            clock.leap(BLOCKED_S)
            await asyncio.sleep(0)
        clock.leap(BLOCKED_S / 2)
        await asyncio.sleep(0)

    async with rig(None, Faulty(blocks)) as its:
        pod = await its.pod(clock=clock)
        caller = await its.start(pod, "faulty")
        with capture_logs() as logs:
            caller.transport.say(ANSWER)
            done = await caller.transport.event("response.done")
        assert done["response"]["status"] == "completed"
        [told] = [line for line in logs if "blocks the event loop" in line["event"]]
        assert (told["agent"], told["seconds"]) == ("faulty", BLOCKED_S)
        counts: Any = pod.observer
        assert counts.counts["agent_fault", "blocked"] == 3
        await caller.gone(1000)


async def test_an_agent_that_never_gives_the_event_loop_back_is_named_by_a_thread() -> None:
    """With the line it is in: the loop itself can say nothing, and the pod will be killed for that."""
    stuck, told, clock = StuckSteps(), threading.Event(), LeapingClock()

    async def hangs(_: Faulty, call: Call, speech: Speech) -> None:
        looking.start()
        assert told.wait(PATIENCE_S)

    def look() -> None:
        clock.leap(STUCK_S - 1)
        assert not stuck.look()
        clock.leap(1)
        assert stuck.look()
        assert not stuck.look()
        told.set()

    looking = threading.Thread(target=look)
    async with rig(None, Faulty(hangs)) as its:
        caller = await its.start(await its.pod(clock=clock), "faulty")
        with capture_logs() as logs:
            caller.transport.say(ANSWER)
            await caller.transport.event("response.done")
        looking.join()
        [line] = [line for line in logs if "does not end" in line["event"]]
        assert line["agent"] == "faulty"
        assert line["seconds"] >= STUCK_S
        assert ":" in line["line"]
        assert not stuck.look()
        await caller.gone(1000)


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
