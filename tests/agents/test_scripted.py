"""An agent that yields sentences."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from tests.kit.recording_call import RecordingCall, asked
from voice_agent.agents.scripted import Scripted, ScriptedTurn
from voice_agent.call.audio import PCM
from voice_agent.kit.call import Call
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Heard, Started, Timer
from voice_agent.kit.speech import NoSpeech, SpeechInterrupted, Spoken

NOTHING: tuple[str, ...] = ()
STARTED = Started(number=1, at_ms=0)


class Counter(Scripted):
    """Counts to six; the other methods have their defaults."""

    name = "counter"

    async def answer(self, turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        for n in range(1, 7):
            yield f"This is sentence number {n}. "


class Answering(Scripted):
    """Answers with what its function yields."""

    name = "answering"

    def __init__(self, answer: Any) -> None:
        self.answer = answer  # type: ignore[method-assign]


async def test_every_sentence_is_said_in_one_speech() -> None:
    """In the order in which it was yielded."""
    call = RecordingCall(asked())
    await Counter().run(call)
    assert call.texts == [[f"This is sentence number {n}. " for n in range(1, 7)]]
    assert call.acknowledged == [1]


async def test_without_a_greeting_nothing_is_said_when_a_call_begins() -> None:
    """No response is opened for it; neither for a timer nobody waits for."""
    call = RecordingCall(
        STARTED, Heard(number=2, at_ms=0, item_id="item_a", text="hello"), Timer(number=3, at_ms=0, name="t")
    )
    await Counter().run(call)
    assert call.texts == []
    assert call.acknowledged == [1, 2, 3]


class Host(Counter):
    """Greets, and reminds."""

    async def greet(self, turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        assert (turn.text, turn.unclear, turn.clip, list(turn.items)) == ("", False, None, [])
        yield f"Hello. You have heard {len(turn.said)} sentences. "

    async def on_timer(self, call: Call, name: str) -> AsyncGenerator[str, None]:
        if name == "quiet":
            await call.hang_up()
            return
        yield f"It is time for {name}. "
        yield "Shall we begin? "


async def test_a_greeting_is_said_once_and_not_on_the_next_pod() -> None:
    """A call that another pod has taken over has begun before."""
    call = RecordingCall(STARTED, Started(number=2, at_ms=0, resumed=True))
    await Host().run(call)
    assert call.texts == [["Hello. You have heard 0 sentences. "]]


async def test_a_timer_that_has_come_may_say_something_and_may_do_something() -> None:
    """One that says nothing opens no response."""
    call = RecordingCall(Timer(number=1, at_ms=0, name="tea"), Timer(number=2, at_ms=0, name="quiet"))
    await Host().run(call)
    assert call.texts == [["It is time for tea. ", "Shall we begin? "]]
    assert call.acts == [("hang_up", "")]


async def test_a_turn_has_what_was_heard_and_what_is_durable_of_the_answer() -> None:
    """And the call, to do things on; an answer may go on where the other pod ended."""
    clip = Clip(bytes(960), PCM)
    event = asked({"type": "message"}, text="two please", unclear=True, clip=clip)
    said = [Spoken("One. ", 480, is_complete=True)]

    async def answer(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        assert (turn.text, turn.unclear, turn.clip, turn.said) == ("two please", True, clip, said)
        assert turn.items == ({"type": "message"},)
        assert turn.event is event
        turn.continues()
        turn.call.state["n"] = 2
        yield "Two. "
        await turn.call.hang_up("done")

    call = RecordingCall(event, said=said)
    await Answering(answer).run(call)
    assert call.speeches[0].goes_on
    assert call.texts == [["Two. "]]
    assert call.acts == [("hang_up", "done")]
    assert call.stored == {"n": 2}


async def test_an_interrupted_answer_is_told_and_its_event_is_done() -> None:
    """What it yields after that is not said; the next event is handled as any."""
    told: list[str] = []

    async def answer(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        try:
            for n in range(5):
                yield f"{n}. "
        except SpeechInterrupted:
            told.append("interrupted")
            yield "But I was not done. "
        finally:
            told.append("closed")

    call = RecordingCall(asked(number=1), asked(number=2), interrupted_after=2)
    await Answering(answer).run(call)
    assert call.texts == [["0. ", "1. "]] * 2
    assert told == ["interrupted", "closed"] * 2
    assert call.acknowledged == [1, 2]


@pytest.mark.parametrize("said", [0, 1])
async def test_what_a_timer_says_may_be_interrupted(said: int) -> None:
    """At its first sentence, and behind it."""
    call = RecordingCall(Timer(number=1, at_ms=0, name="tea"), asked(number=2), interrupted_after=said)
    await Host().run(call)
    assert [len(texts) for texts in call.texts] == [said] * 2
    assert call.acknowledged == [1, 2]


async def test_an_interruption_while_an_answer_waits_ends_the_event() -> None:
    """It is raised inside the answer, and comes out of it."""

    async def answer(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        yield "One moment. "
        raise SpeechInterrupted

    call = RecordingCall(asked(number=1), asked(number=2))
    await Answering(answer).run(call)
    assert call.acknowledged == [1, 2]


async def nothing(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
    for sentence in NOTHING:
        yield sentence


async def number(turn: ScriptedTurn) -> AsyncGenerator[Any, None]:
    yield 3


async def no_generator(turn: ScriptedTurn) -> str:
    return "Hello."


def no_generator_either(turn: ScriptedTurn) -> list[str]:
    return ["Hello."]


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (nothing, "The agent 'answering' yielded nothing in answer, and did nothing."),
        (number, "The agent 'answering' yielded int, which is no sentence."),
        (no_generator, "The agent 'answering' has a method answer that is no generator: it does not yield."),
        (no_generator_either, "The agent 'answering' has a method answer that is no generator: it does not yield."),
    ],
)
async def test_an_answer_that_is_none_is_named(answer: Any, what: str) -> None:
    """Its event is not acknowledged by the agent."""
    call = RecordingCall(asked())
    with pytest.raises(NoSpeech) as raised:
        await Answering(answer).run(call)
    assert str(raised.value) == what
    assert call.acknowledged == []


async def test_an_answer_without_a_method_is_named() -> None:
    """As one that yields nothing: the caller is to hear an apology, and not silence."""
    with pytest.raises(NoSpeech):
        await Scripted().run(RecordingCall(asked()))


async def acts(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
    await turn.call.call_tool("look", "look_up", {"order": 7})
    for sentence in NOTHING:
        yield sentence


async def is_silent(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
    yield ""


@pytest.mark.parametrize("answer", [acts, is_silent])
async def test_an_answer_may_do_something_in_place_of_saying_it_and_may_be_silent_on_purpose(answer: Any) -> None:
    """Nothing is said then, and nobody is blamed."""
    call = RecordingCall(asked())
    await Answering(answer).run(call)
    assert call.texts == [[]]
    assert call.acknowledged == [1]


async def test_an_answer_that_finds_all_of_it_said_need_not_yield_any() -> None:
    """Another pod has said it."""
    call = RecordingCall(asked(), said=[Spoken("All. ", 480, is_complete=True)])
    await Answering(nothing).run(call)
    assert call.acknowledged == [1]


async def test_an_answer_that_is_cancelled_is_closed() -> None:
    """Its call goes to another pod, or ends."""
    closed, waits = asyncio.Event(), asyncio.Event()

    async def answer(turn: ScriptedTurn) -> AsyncGenerator[str, None]:
        try:
            yield "One moment. "
            waits.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    running = asyncio.create_task(Answering(answer).run(RecordingCall(asked())))
    await waits.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert closed.is_set()
