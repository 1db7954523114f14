"""`speaking` and `own_audio`: an agent that gives audio, whose source is lost in the middle of what it gave last."""

from __future__ import annotations

import itertools

import pytest

from tests.runtime.alone import alone, turns_pass
from tests.runtime.engine.agents import Acting, SpellingVoice
from tests.runtime.engine.crashes import again, engine_call, settled, whole
from tests.runtime.engine.test_agent_run import begun, when
from tests.runtime.engine.test_contract import ask
from voice_agent.call.audio import PCM
from voice_agent.call.inputs import CreateResponse
from voice_agent.kit.call import Call
from voice_agent.kit.events import Asked, Event
from voice_agent.kit.speech import Speech
from voice_agent.runtime.engine.agent_run import SILENT_S

WORDS = [f"word{n} " for n in range(6)]
WORD_MS = 300


def sound(word: str) -> bytes:
    """Of a word: samples of its number."""
    return (WORDS.index(word) + 1).to_bytes(2, "little") * (PCM.size(WORD_MS) // 2)


def heard(audio: bytes) -> list[tuple[str, int]]:
    """Which words are said in audio, each with how many milliseconds of it; one that is begun again is there twice."""
    runs: list[tuple[str, int]] = []
    samples = [int.from_bytes(audio[at : at + 2], "little") for at in range(0, len(audio), PCM.size(100))]
    for number, group in itertools.groupby(samples):
        ms = 100 * len(list(group))
        while ms > WORD_MS:
            runs.append((WORDS[number - 1], ms - WORD_MS))
            ms = WORD_MS
        runs.append((WORDS[number - 1], ms))
    return runs


async def say(speech: Speech, words: list[str]) -> None:
    """Give words with their audio, a tenth of a second at a time."""
    for word in words:
        audio = sound(word)
        for at in range(0, len(audio), tenth := PCM.size(100)):
            await speech.audio(audio[at : at + tenth], PCM, text="" if at else word, is_partial=at + tenth < len(audio))


async def go_on(call: Call, event: Event) -> None:
    """Say all words; those that another pod has said to their end are not said again."""
    if isinstance(event, Asked):
        async with call.speak() as speech:
            left = await speech.forget_unsaid()
            await say(speech, WORDS[len(left.split()) :])


async def test_on_another_pod_the_word_that_was_cut_off_is_said_again_and_no_other() -> None:
    """After each write: the transcript is the same, and of a word that is there twice the first one was cut off."""
    tape = await whole(Acting(go_on), ask)
    assert tape.got.text == "".join(WORDS)
    assert len(tape.snapshots) > 12
    cuts = 0
    for snapshot in tape.snapshots:
        got = await again(Acting(go_on), snapshot, ask)
        assert got.text == "".join(WORDS)
        words = heard(got.audio)
        assert [word for word, ms in words if ms == WORD_MS] == WORDS
        cut = [word for word, ms in words if ms < WORD_MS]
        assert len(cut) <= 1
        cuts += len(cut)
    assert cuts


@pytest.mark.parametrize("cut_ms", [100, 200])
async def test_what_is_given_instead_of_what_was_forgotten_stands_in_its_place(cut_ms: int) -> None:
    """Other words begin another item: the first one ends with the last word that was said."""
    left: list[str] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await say(speech, WORDS[:2])
            await speech.audio(sound(WORDS[2])[: PCM.size(cut_ms)], PCM, text=WORDS[2], is_partial=True)
            left.append(await speech.forget_unsaid())
            await say(speech, WORDS[4:])

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        items = [item["content"][0]["transcript"] for item in its.call.conversation.items()]
    assert left == ["".join(WORDS[:2])]
    assert items == [left[0].strip(), "".join(WORDS[4:])]


async def test_what_is_given_whole_is_said_before_anything_is_forgotten() -> None:
    """Also what of it is shorter than a chunk."""
    left: list[str] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await speech.audio(sound(WORDS[0])[: PCM.size(250)], PCM, text=WORDS[0])
            left.append(await speech.forget_unsaid())

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        [entry] = [its.call.conversation.get(item["id"]) for item in its.call.conversation.items()]
    assert left == [WORDS[0]]
    assert entry is not None
    assert entry.audio_ms == 250


async def test_a_word_that_was_forgotten_stands_where_it_is_said_again() -> None:
    """So a caller who interrupts just before has heard none of it."""

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await say(speech, WORDS[:2])
            await speech.audio(sound(WORDS[2])[: PCM.size(100)], PCM, text=WORDS[2], is_partial=True)
            await speech.forget_unsaid()
            await say(speech, WORDS[2:4])

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
        [entry] = [its.call.conversation.get(item["id"]) for item in its.call.conversation.items()]
    assert entry is not None
    assert entry.alignment is not None
    at = len("".join(WORDS[:2]))
    assert [2 * WORD_MS + 100, at] in entry.alignment


async def test_what_was_forgotten_may_be_given_again_without_its_text() -> None:
    """It stands there already; what was prepared to come behind it is not said."""
    seen: list[list[str]] = []
    voice = SpellingVoice()

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            await say(speech, WORDS[:2])
            await speech.audio(sound(WORDS[2])[: PCM.size(100)], PCM, text=WORDS[2], is_partial=True)
            speech.prepare("More. ")
            left = await speech.forget_unsaid()
            assert its.live.responder.prepared_bytes == 0
            await speech.audio(sound(WORDS[2]), PCM)
            seen.append([left, *(piece.text for piece in speech.said)])

    async with alone(engine_call(), Acting(when(Asked, act), voice)) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        await settled(its)
    assert seen == [["".join(WORDS[:2]), *WORDS[:3]]]


async def test_of_nothing_and_of_what_is_only_written_nothing_is_forgotten() -> None:
    """What is written stands."""
    left: list[str] = []

    async def act(call: Call) -> None:
        async with call.speak() as speech:
            left.append(await speech.forget_unsaid())
            await speech.text("Hello.")
            left.append(await speech.forget_unsaid())

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        for params in ({}, {"output_modalities": ["text"]}):
            its.live.feed(CreateResponse(params))
            await settled(its)
        assert ("agent_fault", "raised") not in its.observer.counts
    assert left == ["", "Hello."] * 2


async def test_an_agents_own_audio_is_timed_and_who_plays_it_is_not_silent() -> None:
    """However long it is."""
    idle: list[float] = []

    async def act(call: Call) -> None:
        its.clock.now_s += 2
        async with call.speak() as speech:
            await speech.audio(bytes(PCM.size(90_000)), PCM, text="Music.")
            await speech.audio(bytes(PCM.size(90_000)), PCM, is_partial=True)
            await speech.forget_unsaid()

    async with alone(engine_call(), Acting(when(Asked, act))) as its:
        await begun(its)
        its.live.feed(CreateResponse({}))
        while its.call.response is not None:
            await turns_pass(1)
            idle.append(its.live.responder.work.idle.seconds)
        assert max(idle) < SILENT_S
        assert ("think", 2.0) in its.observer.stages
        assert ("tts", 0.0) in its.observer.stages
