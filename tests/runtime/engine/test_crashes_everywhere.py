"""What is said is said once, in every form that a call may have: after each write its pod is gone, and again."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Any

import pytest

from tests.runtime.alone import Alone, alone
from tests.runtime.engine.agents import Acting, SpellingVoice
from tests.runtime.engine.crashes import Got, Tape, again, engine_call, settled, taken_over, whole
from tests.runtime.engine.test_speaking import SENTENCES, TEXT, in_order, say, spoken
from voice_agent.call.audio import PCM
from voice_agent.call.changes import Snapshot
from voice_agent.call.inputs import CreateResponse, UpdateSession
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Event

FORMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "text": ({"output_modalities": ["text"]}, {}),
    "pcmu": ({"audio": {"output": {"format": {"type": "audio/pcmu"}}}}, {}),
    "response as text": ({}, {"output_modalities": ["text"]}),
    "response in pcma": ({}, {"audio": {"output": {"format": {"type": "audio/pcma"}}}}),
    "out of band": ({}, {"conversation": "none"}),
    "out of band, text": ({}, {"conversation": "none", "output_modalities": ["text"], "input": []}),
}


class InForm:
    """The client asks for a reply in a form, if it has not asked yet."""

    def __init__(self, form: str) -> None:
        self.session, self.response = FORMS[form]

    async def __call__(self, its: Alone) -> None:
        if its.call.response is None and not its.call.ids.responses_made:
            await settled(its)
            if self.session:
                its.live.feed(UpdateSession({"type": "realtime", **self.session}))
            its.live.feed(CreateResponse(self.response))


@pytest.mark.parametrize("form", FORMS)
async def test_a_reply_in_any_form_goes_on_where_it_was(form: str) -> None:
    """Text and audio are those of a call without a crash."""
    script = InForm(form)
    tape = await whole(Acting(say), script)
    assert tape.got.text == TEXT
    assert bool(tape.got.audio) is ("text" not in form)
    for snapshot in tape.snapshots:
        got = await again(Acting(say), snapshot, script)
        assert (got.text, got.audio) == (TEXT, tape.got.audio)
        if "text" not in form:
            in_order(got)


async def crashed(agent: Acting, snapshot: Snapshot, script: Any) -> Tape:
    """The call on the next pod, from the snapshot to its end."""
    tape = Tape()
    async with alone(taken_over(snapshot), agent) as its:
        tape.listen(its)
        its.call.outbox.visible_seq = its.call.outbox.seq
        its.attach()
        its.live.resume_work()
        await script(its)
        await settled(its)
    return tape


def everything(snapshot: Snapshot) -> Got:
    """What the caller has got by then."""
    got = Got()
    got.add(list(snapshot.outbox))
    return got


async def mixed(call: Call, event: Event) -> None:
    """Says a sentence, its own audio, and another sentence."""
    if isinstance(event, Asked):
        async with call.speak("mixed") as speech:
            await speech.text(SENTENCES[0])
            await speech.audio(b"\x11\x22" * (PCM.size(700) // 2), PCM, text=SENTENCES[1])
            await speech.text(SENTENCES[2])


@pytest.mark.parametrize("agent", [say, mixed], ids=["text", "mixed"])
async def test_a_reply_survives_two_crashes(agent: Any) -> None:
    """One while another pod goes on with it."""
    script = InForm("text")
    script.session = {}
    tape = await whole(Acting(agent), script)
    for first in tape.snapshots[::4]:
        second = await crashed(Acting(agent), first, script)
        for snapshot in second.snapshots[::5]:
            third = await crashed(Acting(agent), snapshot, script)
            got = everything(snapshot)
            got.text += third.got.text
            got.audio += third.got.audio
            assert (got.text, got.audio) == (TEXT, tape.got.audio)


class OtherVoice(SpellingVoice):
    """Is never the same twice, and never as long."""

    deterministic = False


@pytest.mark.parametrize("form", ["pcmu", "out of band"])
async def test_another_voice_says_the_rest_in_any_form(form: str) -> None:
    """No letter is left out, and none before the word that was cut off is said again."""
    script = InForm(form)
    tape = await whole(Acting(say), script)
    for snapshot in tape.snapshots:
        voice = OtherVoice(variant=7, ms_a_char=75)
        got = await again(Acting(say, voice), snapshot, script)
        assert got.text == TEXT
        said_again = "".join(utterance.text for utterance in voice.said)
        assert TEXT.endswith(said_again)
        assert not said_again or len(said_again) == len(TEXT) or TEXT[-len(said_again) - 1] == " "


async def test_another_voice_goes_on_with_a_word_after_each_of_two_crashes() -> None:
    """Both may be in one sentence: what is said again is a part of a word at each of them, and no more."""
    script = InForm("text")
    script.session = {}
    tape = await whole(Acting(say), script)
    for first in tape.snapshots[::2]:
        second = await crashed(Acting(say, OtherVoice(variant=7)), first, script)
        for snapshot in second.snapshots[::2]:
            third = await crashed(Acting(say, OtherVoice(variant=8)), snapshot, script)
            got = everything(snapshot)
            assert got.text + third.got.text == TEXT
            audio = got.audio + third.got.audio
            assert goes_on_with_words(audio), spoken(audio, (0, 7, 8))


def goes_on_with_words(audio: bytes) -> bool:
    """Each voice begins with the word in which the one before it was cut off, and the last says the text to its end."""
    end = 0
    for _, spoken_by in groupby(spoken(audio, (0, 7, 8)), key=itemgetter(0)):
        said = "".join(char for _, char in spoken_by)
        word = TEXT.rfind(" ", 0, max(0, end - 1)) + 1  # Its last character may be said in part.
        begin = next((at for at in range(word, end + 1) if TEXT.startswith(said, at)), None)
        if begin is None:
            return False
        end = begin + len(said)
    return end == len(TEXT)


async def test_a_voice_that_failed_in_a_sentence_does_not_speak_into_what_is_said_next() -> None:
    """What was said of the sentence stands in its item, and nothing of it in the next."""
    from voice_agent.kit.voice import VoiceFailed

    class Failing(SpellingVoice):
        async def say(self, utterance: Any) -> Any:
            async for number_and_piece in _numbered(super().say(utterance)):
                if utterance.text == SENTENCES[1] and number_and_piece[0] == 9:
                    raise ValueError("gone")
                yield number_and_piece[1]

    async def careful(call: Call, event: Event) -> None:
        if isinstance(event, Asked):
            try:
                async with call.speak("first") as speech:
                    await speech.text(SENTENCES[1])
            except VoiceFailed:
                pass
            async with call.speak("second") as speech:
                await speech.text(SENTENCES[2])

    script = InForm("text")
    script.session = {}
    tape = Tape()
    async with alone(engine_call(), Acting(careful, Failing())) as its:
        tape.listen(its)
        its.attach()
        its.live.resume_work()
        await script(its)
        await settled(its)
        items = [item for item in its.call.conversation.items() if item.get("role") == "assistant"]
        assert [item["content"][0]["transcript"] for item in items] == ["We are", SENTENCES[2]]
        assert [item["status"] for item in items] == ["incomplete", "completed"]
        second = its.call.conversation.get(items[1]["id"])
        assert second is not None
        assert second.audio_ms == 60 * len(SENTENCES[2])


async def _numbered(pieces: Any) -> Any:
    number = 0
    async for piece in pieces:
        yield number, piece
        number += 1
