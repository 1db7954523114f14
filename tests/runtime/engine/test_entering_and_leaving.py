"""How a speech is entered and left: where the store is behind, and where another pod has begun it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.engine.agents import Acting, SpellingVoice, spelled
from tests.runtime.engine.crashes import cancelled_elsewhere, engine_call, settled, stored, taken_over
from tests.runtime.engine.test_agent_run import begun, said, when
from tests.runtime.engine.test_taken_up import HELLO, said_bytes, snapshot_after
from tests.waiting import until
from voice_agent.call.audio import PCM
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import CancelResponse, CreateResponse
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked
from voice_agent.kit.speech import Played, Speech, SpeechInterrupted, Spoken
from voice_agent.runtime.durability.call_writer import MAX_UNSAVED_BYTES
from voice_agent.runtime.engine.agent_run import SILENT_S
from voice_agent.runtime.engine.audio_pacer import CHUNK_MS

Act = Callable[[Call], Awaitable[None]]
DIVERGED = ("agent_fault", "other_text")


async def behind(its: Alone) -> None:
    """The store does not answer, and more waits for it than may."""
    await its.live.writer.pause_writes()
    its.call.outbox.unsaved_bytes += MAX_UNSAVED_BYTES


async def test_a_speech_is_not_entered_while_the_store_is_behind() -> None:
    """Who waits for that is not silent, and may be interrupted there; something else may be said after it."""
    done: list[str] = []

    async def act(call: Call) -> None:
        try:
            async with call.speak():
                done.append("entered")
        except SpeechInterrupted:
            done.append("interrupted")
        async with call.speak("sorry") as speech:
            await speech.text("Sorry.")

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        await behind(its)
        its.live.feed(CreateResponse({}))
        await turns_pass()
        its.clock.now_s += 2 * SILENT_S
        its.live.responder.stop_silent()
        assert (its.call.response is not None, done) == (True, [])
        its.live.feed(CancelResponse())
        await turns_pass()
        its.call.outbox.unsaved_bytes -= MAX_UNSAVED_BYTES
        its.live.writer.resume_writes()
        await settled(its)
        assert done == ["interrupted"]
        assert said(its) == ["Sorry."]


async def interrupted_elsewhere(act: Act) -> Snapshot:
    """The record of a call whose pod is gone just after the client has cancelled what it said."""
    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass(500)
        return await cancelled_elsewhere(its)


async def goes_on(snapshot: Snapshot, act: Act) -> Alone:
    """The next pod has it, until the event is over."""
    async with alone(taken_over(snapshot), Acting(when(Asked, act))) as its:
        its.attach()
        its.live.resume_work()
        await settled(its)
    return its


async def test_a_speech_that_was_interrupted_before_it_said_anything_is_not_entered_again() -> None:
    """There is nothing to come to."""
    raised: list[str] = []

    async def hold(call: Call) -> None:
        async with call.speak():
            await asyncio.Event().wait()

    async def act(call: Call) -> None:
        try:
            async with call.speak():
                raised.append("entered")
        except SpeechInterrupted:
            raised.append("interrupted")

    await goes_on(await interrupted_elsewhere(hold), act)
    assert raised == ["interrupted"]


async def say_three(call: Call) -> None:
    """And hold the speech open."""
    async with call.speak() as speech:
        for sentence in ("One. ", "Two. ", "Three. "):
            await speech.text(sentence)
        await asyncio.Event().wait()


@pytest.mark.parametrize("error", [None, ValueError("broken")])
async def test_who_leaves_a_speech_before_it_comes_to_its_interruption_is_interrupted_there(
    error: Exception | None,
) -> None:
    """An error of the handler's own is raised as it is."""
    raised: list[BaseException] = []

    async def act(call: Call) -> None:
        try:
            async with call.speak() as speech:
                await speech.text("One. ")
                if error is not None:
                    raise error
        except (SpeechInterrupted, ValueError) as found:
            raised.append(found)

    await goes_on(await interrupted_elsewhere(say_three), act)
    assert [isinstance(found, SpeechInterrupted) for found in raised] == [error is None]


@pytest.mark.parametrize(
    ("given", "continues", "differs"),
    [(("Hello there. ", "Goodbye."), False, 0), (("Hello there. ",), False, 1), ((), True, 0), ((), False, 1)],
)
async def test_a_speech_that_leaves_out_what_was_said_differs(
    given: tuple[str, ...], *, continues: bool, differs: int
) -> None:
    """What another pod has said of it is given again, or gone on from; of a new one nothing was said."""

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            if continues:
                speech.continues()
            for sentence in given:
                await speech.text(sentence)
        async with call.speak("more") as speech:
            await speech.text("More.")

    its = await goes_on(await snapshot_after(len(HELLO)), act)
    assert its.observer.counts.get(DIVERGED, 0) == differs
    assert said(its) == ["Hello there. Goodbye.", "More."]


async def test_what_was_left_of_a_sentence_is_not_said_behind_a_handlers_own_error() -> None:
    """It goes on with something else, and tells of no other text."""

    async def act(call: Call) -> None:
        try:
            async with call.speak() as speech:
                await speech.text("Hello there. ")
                raise ValueError
        except ValueError:
            async with call.speak("sorry") as speech:
                await speech.text("Sorry.")
                heard.append(said_bytes(its.call))

    heard: list[int] = []
    snapshot = await snapshot_after(len(HELLO))
    sent_bytes = said_bytes(taken_over(snapshot))
    async with alone(taken_over(snapshot), Acting(when(Asked, act))) as its:
        its.attach()
        its.live.resume_work()
        await settled(its)
        [heard_bytes] = heard
        assert heard_bytes - sent_bytes - len(spelled("Sorry.")) <= PCM.size(CHUNK_MS)
        assert DIVERGED not in its.observer.counts


async def test_who_waits_at_the_end_of_a_speech_until_all_of_it_is_sent_is_not_silent() -> None:
    """However long that is."""
    voice = SpellingVoice(ms_a_char=6000)

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            speech.continues()

    snapshot = await snapshot_after(0)
    async with alone(taken_over(snapshot), Acting(when(Asked, act), voice)) as its:
        its.attach()
        its.live.resume_work()
        began_s, longest_s = its.clock.now_s, 0.0
        while its.call.response is not None:
            await turns_pass(1)
            longest_s = max(longest_s, its.live.responder.work.idle.seconds)
        assert its.clock.now_s - began_s > 2 * SILENT_S
        assert longest_s < SILENT_S


@pytest.mark.parametrize(
    ("params", "give"),
    [
        ({"output_modalities": ["text"]}, lambda speech: speech.text("Hello.")),
        ({}, lambda speech: speech.audio(b"", PCM, text="Hello.")),
    ],
    ids=["only written", "without audio"],
)
async def test_who_says_something_waits_for_a_store_that_is_behind(
    params: dict[str, Any], give: Callable[[Speech], Awaitable[None]]
) -> None:
    """However much an agent writes, no more of it is held than may be; it is not silent meanwhile."""
    done: list[str] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.audio(bytes(PCM.size(100)), PCM, text="One. ")
            await behind(its)
            done.append("behind")
            await give(speech)
            done.append("said")

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse(params))
        await until(lambda: done)
        await turns_pass(100)
        its.clock.now_s += 2 * SILENT_S
        its.live.responder.stop_silent()
        assert (its.call.response is not None, done) == (True, ["behind"])
        its.call.outbox.unsaved_bytes -= MAX_UNSAVED_BYTES
        its.live.writer.resume_writes()
        await settled(its)
        assert done == ["behind", "said"]


@pytest.mark.parametrize(
    "give",
    [
        lambda speech: speech.forget_unsaid(),
        lambda speech: goes_on_with(speech, "Four. "),
        lambda speech: speech.text("One. Two. Three. "),
        lambda speech: speech.audio(b"", PCM, text="One. Two. Three. Four. "),
    ],
    ids=["forgets", "continues", "all at once", "own audio"],
)
async def test_who_goes_on_with_what_was_interrupted_elsewhere_is_interrupted_there(
    give: Callable[[Speech], Awaitable[None]],
) -> None:
    """Nothing new is said in that speech."""
    raised: list[BaseException] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            try:
                await give(speech)
            except SpeechInterrupted as error:
                raised.append(error)
                raise

    await goes_on(await interrupted_elsewhere(say_three), act)
    assert len(raised) == 1


async def goes_on_with(speech: Speech, text: str) -> None:
    """Say nothing again."""
    speech.continues()
    await speech.text(text)


async def test_a_speech_is_over_once_it_was_left() -> None:
    """The author is told so, and how much of it was heard: all, or nothing where nothing was said."""
    seen: list[Played] = []
    waited_s: list[float] = []
    voice = SpellingVoice()
    voice.lead_ms = 10_000

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            seen.append(await speech.heard())
            await speech.text("Hello.")
            began_s = its.clock.now_s
            seen.append(await speech.heard())
        seen.append(await speech.heard())
        waited_s.append(its.clock.now_s - began_s)
        with pytest.raises(RuntimeError, match="is over"):
            await speech.text("More.")
        async with call.speak("nothing") as nothing:
            pass
        seen.append(await nothing.heard())

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        assert ("agent_fault", "raised") not in its.observer.counts
    none, all_of_it = Played("", 0, cut_off=False), Played("Hello.", 360, cut_off=False)
    assert seen == [none, all_of_it, all_of_it, none]
    assert waited_s[0] > 0.3


@pytest.mark.parametrize("own", [False, True], ids=["voice", "own audio"])
async def test_other_text_is_told_of_once(*, own: bool) -> None:
    """However much of it there is."""
    words = ["One. ", "Two. ", "Three. ", "Ten. "]

    async def give(speech: Speech, text: str) -> None:
        if own:
            await speech.audio(bytes(PCM.size(300)), PCM, text=text)
        else:
            await speech.text(text)

    async def first(call: Call) -> None:
        async with call.speak() as speech:
            for word in words:
                await give(speech, word)
            await asyncio.Event().wait()

    async def other(call: Call) -> None:
        async with call.speak() as speech:
            for word in words:
                await give(speech, word.replace("T", "D"))

    async with alone(engine_call(), Acting(when(Asked, first))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await turns_pass(500)
        snapshot = await stored(its)
    its = await goes_on(snapshot, other)
    assert its.observer.counts.get(DIVERGED, 0) == (3 if own else 1)


async def test_audio_without_a_text_says_nothing_of_the_sentence_before() -> None:
    """That one is complete."""
    seen: list[Spoken] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.text("Hello. ")
            await speech.audio(bytes(PCM.size(200)), PCM)
            seen.extend(speech.said)

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
    assert [(piece.text, piece.samples) for piece in seen] == [("Hello. ", 7 * 60 * 24), ("", 200 * 24)]


async def test_what_cannot_be_said_any_more_is_not_prepared() -> None:
    """Of a speech that was left, or interrupted, or whose event is over; nor is nothing."""
    voice = SpellingVoice()
    given: list[Speech] = []

    async def act(call: Call) -> None:
        async with call.speak("first") as first:
            given.append(first)
        async with call.speak("second") as second:
            given.append(second)
            first.prepare("Left. ")
            second.prepare("")
            await turns_pass()
            try:
                await asyncio.Event().wait()
            finally:
                second.prepare("Interrupted. ")
                await turns_pass()

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: len(given) == 2)
        await turns_pass()
        its.live.feed(CancelResponse())
        await settled(its)
        its.live.feed(CreateResponse({}))
        await until(lambda: len(given) == 4)
        given[1].prepare("Over. ")
        its.live.responder.cancel()
        await turns_pass()
        given[3].prepare("Moved. ")
        await turns_pass()
        assert voice.said == []
