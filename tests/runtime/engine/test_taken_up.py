"""A speech that another pod has begun: its handler comes to where it was, while the rest of a sentence is said."""

from __future__ import annotations

import asyncio

import pytest

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.engine.agents import Acting, SpellingVoice, spelled
from tests.runtime.engine.crashes import cancelled_elsewhere, engine_call, settled, stored, taken_over, whole
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import CancelResponse, CreateResponse
from voice_agent.call.record import CallRecord
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Event
from voice_agent.kit.speech import SpeechInterrupted, Spoken
from voice_agent.runtime.engine.agent_run import SILENT_S, AgentRun

HELLO = spelled("Hello there. ")


async def remember(call: Call, event: Event) -> None:
    """Changes its state once it speaks, and says two sentences."""
    if isinstance(event, Asked):
        async with call.speak() as speech:
            call.state["asked"] = call.state.get("asked", 0) + 1
            await speech.text("Hello there. ")
            await speech.text("Goodbye.")
            await asyncio.Event().wait()


async def begun_elsewhere(*, cancelled: bool) -> Snapshot:
    """The record of a call whose pod is gone while it speaks, or just after the client has cancelled that."""
    async with alone(engine_call(), Acting(remember)) as its:
        its.attach()
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and "Goodbye." in its.call.response.said.text)
        await turns_pass()
        return await (cancelled_elsewhere if cancelled else stored)(its)


async def ends(its: Alone) -> None:
    """Whoever is interrupted is through with the event."""
    await settled(its)
    assert its.call.dialogue.agent_state == {"asked": 1}


async def test_what_was_interrupted_elsewhere_comes_as_far_again_as_it_came() -> None:
    """So what its handler remembers is kept as if the pod had lived."""
    snapshot = await begun_elsewhere(cancelled=True)
    async with alone(taken_over(snapshot), Acting(remember)) as its:
        its.attach()
        its.live.resume_work()
        await ends(its)


async def say(call: Call, event: Event) -> None:
    """Says two sentences."""
    if isinstance(event, Asked):
        async with call.speak() as speech:
            await speech.text("Hello there. ")
            await speech.text("Goodbye.")


async def snapshot_after(audio_bytes: int) -> Snapshot:
    """The record of a call whose pod is gone while it says these; more than so much audio was sent."""

    async def ask(its: Alone) -> None:
        its.live.feed(CreateResponse({}))

    tape = await whole(Acting(say), ask)
    return next(each for each in tape.snapshots if said_bytes(taken_over(each)) > audio_bytes)


def said_bytes(call: CallRecord) -> int:
    """How much audio of the response there is."""
    return call.response.said.audio_bytes if call.response is not None else 0


async def test_the_rest_of_a_sentence_is_said_to_its_end_while_its_handler_waits() -> None:
    """Also what of it is shorter than a chunk: nobody knows when the handler goes on."""
    snapshot = await snapshot_after(len(HELLO))
    async with alone(taken_over(snapshot), Acting(remember)) as its:
        its.attach()
        its.live.resume_work()
        await until(lambda: said_bytes(its.call) == len(HELLO + spelled("Goodbye.")))


async def test_a_sentence_that_was_begun_elsewhere_is_the_same_to_the_voice() -> None:
    """And the ones behind it: a voice that goes by the seed says them the same on every pod."""
    voices = [SpellingVoice(), SpellingVoice()]
    async with alone(engine_call(), Acting(say, voices[0])) as its:
        its.attach()
        its.live.feed(CreateResponse({}))
        await settled(its)
    for sent_bytes in (0, len(HELLO)):
        async with alone(taken_over(await snapshot_after(sent_bytes)), Acting(say, voices[1])) as its:
            its.attach()
            its.live.resume_work()
            await settled(its)
    seeds = {utterance.text: utterance.seed for utterance in voices[0].said}
    assert len(set(seeds.values())) == 2
    assert [(each.text, each.seed) for each in voices[1].said] == [
        (text, seeds[text]) for text in ("Hello there. ", "Goodbye.", "Goodbye.")
    ]


async def test_of_what_was_begun_elsewhere_the_sentence_that_was_cut_is_not_complete() -> None:
    """Nor is any that was not sent at all."""
    seen: list[list[Spoken]] = []

    async def look(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                seen.append(list(speech.said))
                await speech.text("Hello there. ")
                await speech.text("Goodbye.")

    for sent_bytes in (0, len(HELLO)):
        async with alone(taken_over(await snapshot_after(sent_bytes)), Acting(look)) as its:
            its.attach()
            its.live.resume_work()
            await settled(its)
    first, second = seen
    assert [(piece.text, piece.is_complete) for piece in first] == [("Hello there. ", False)]
    assert [(piece.text, piece.is_complete) for piece in second] == [("Hello there. ", True), ("Goodbye.", False)]
    assert first[0].samples < second[0].samples == len(HELLO) // PCM.sample_bytes


@pytest.mark.parametrize("leaves", [False, True])
async def test_an_interruption_elsewhere_is_raised_where_it_was_and_once(*, leaves: bool) -> None:
    """After as many sentences as were said; a handler that goes on after it is not interrupted again by leaving."""
    passed: list[str] = []

    async def act(call: Call, event: Event) -> None:
        if not isinstance(event, Asked):
            return
        try:
            async with call.speak() as speech:
                for sentence in ("One. ", "Two. ", "Three. "):
                    try:
                        await speech.text(sentence)
                    except SpeechInterrupted:
                        if leaves:
                            break
                        with pytest.raises(SpeechInterrupted):
                            await speech.text(sentence)
                        raise
                    passed.append(sentence)
                else:
                    await asyncio.Event().wait()
            passed.append("left")
        finally:
            call.state["passed"] = list(passed)

    async with alone(engine_call(), Acting(act)) as its:
        its.attach()
        its.live.feed(CreateResponse({}))
        await until(lambda: said_bytes(its.call) == len(spelled("One. Two. Three. ")))
        snapshot = await cancelled_elsewhere(its)
    passed.clear()
    async with alone(taken_over(snapshot), Acting(act)) as its:
        its.attach()
        its.live.resume_work()
        await settled(its)
        assert its.call.dialogue.agent_state == {"passed": ["One. ", "Two. ", *["left"] * leaves]}
        assert ("agent_fault", "raised") not in its.observer.counts


async def test_a_reply_that_is_cut_while_its_rest_is_said_has_come_as_far() -> None:
    """The handler runs meanwhile."""
    snapshot = await begun_elsewhere(cancelled=False)
    async with alone(taken_over(snapshot), Acting(remember)) as its:
        its.attach()
        its.live.resume_work()
        await turns_pass(3)
        assert its.call.response is not None
        its.live.feed(CancelResponse())
        await ends(its)


async def test_an_agent_that_waits_until_that_rest_is_said_is_not_silent() -> None:
    """However long it is: it is the caller who listens."""
    voice = SpellingVoice(ms_a_char=6000)

    async def go_on(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            async with call.speak() as speech:
                await speech.text("Hello there. ")
                await speech.text("Goodbye.")

    async with alone(engine_call(), Acting(go_on, voice)) as its:
        its.attach()
        its.live.feed(CreateResponse({}))
        await until(lambda: its.call.response is not None and its.call.response.said.audio_bytes > 0)
        snapshot = await stored(its)
    async with alone(taken_over(snapshot), Acting(go_on, voice)) as its:
        its.attach()
        its.live.resume_work()
        assert isinstance(its.live.responder, AgentRun)
        idle = its.live.responder.work.idle
        began_s = its.clock.now_s
        longest_s = 0.0
        while its.call.response is not None:
            await turns_pass(1)
            longest_s = max(longest_s, idle.seconds)
        assert its.clock.now_s - began_s > 2 * SILENT_S
        assert longest_s < SILENT_S


async def test_a_reply_that_is_cut_before_its_handler_has_begun_again_has_come_as_far() -> None:
    """What another pod has begun is not dropped."""
    snapshot = await begun_elsewhere(cancelled=False)
    async with alone(taken_over(snapshot), Acting(remember)) as its:
        its.attach()
        assert isinstance(its.live.responder, AgentRun)
        its.live.feed(CancelResponse())
        its.live.resume_work()
        await ends(its)
