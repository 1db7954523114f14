"""A reply that goes on after its pod was lost, by an agent that says the same again, or does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.agents.base import Audio, Clip, ReplyPart, Text, Turn
from app.call import inputs
from app.call.alignment import said_to
from app.call.audio import FORMATS, PCM, PCMU
from app.call.record import Call
from app.runtime import replay
from app.runtime.speaking import Performance
from tests.call.calls import emitted, happen, moved, new_call
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from tests.runtime.test_speaking import RecordingStage

SENTENCES = ("one two three. ", "four five six seven. ", "eight nine. ")
OTHERS = ("eins zwei drei. ", "vier fuenf sechs. ", "sieben acht neun. ", "zehn. ")
WORDS = [word for text in (*SENTENCES, *OTHERS) for word in text.split()]
WORD_MS, OTHER_WORD_MS = 250, 190
LOUD = 100


class Died(BaseException):
    """The pod is gone."""


class DyingStage(RecordingStage):
    """Its pod is lost before the n-th thing that happens."""

    def __init__(self, call: Call, clock: StoppedClock, dies_at: int) -> None:
        super().__init__(call, clock)
        self.dies_at = dies_at

    def feed(self, happened: inputs.Input) -> None:
        if len(self.fed) == self.dies_at:
            raise Died
        super().feed(happened)


class Speaker:
    """Says sentences; its audio tells which word it says, and that by the same voice."""

    name = "speaker"
    lead_ms = 400
    replays = True
    mirrors = False

    def __init__(
        self, sentences: Sequence[str] = SENTENCES, *, voice: int = 0, word_ms: int = WORD_MS, tells: bool = True
    ) -> None:
        self.sentences = sentences
        self.voice = voice
        self.word_ms = word_ms
        self.tells = tells

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, clip: Clip) -> str | None:
        return None

    async def reply(self, turn: Turn) -> AsyncIterator[ReplyPart]:
        for sentence in self.sentences:
            yield Text(sentence)
            if turn.wants_audio:
                yield Audio(b"".join(map(self.say, sentence.split())), PCM, self.words(sentence) if self.tells else ())

    def say(self, word: str) -> bytes:
        level = (1 + WORDS.index(word)) * LOUD + self.voice
        return level.to_bytes(2, "little") * (PCM.size(self.word_ms) // 2)

    def words(self, sentence: str) -> list[list[int]]:
        words = sentence.split()
        return [[self.word_ms * n, len(" ".join(words[:n])) + 1] for n in range(1, len(words))]


def heard_of(call: Call) -> list[tuple[str, int, int]]:
    """The words in the audio that was sent, each with its voice and how many milliseconds of it; for PCM."""
    audio = b"".join(entry.audio for entry in call.outbox.after(0))
    levels = [int.from_bytes(audio[at : at + 2], "little") for at in range(0, len(audio), PCM.size(10))]
    return [(WORDS[level // LOUD - 1], level % LOUD, 10 * len([*same])) for level, same in groupby(levels)]


def texts_of(call: Call) -> list[str]:
    """What the items of the reply say."""
    done = emitted(call)[-1] if call.unsaved_events else {}
    assert done["type"] == "response.done"
    return [item["content"][0].get("transcript", item["content"][0].get("text")) for item in done["response"]["output"]]


async def interrupted(first: Any, second: Any, dies_at: int, **session: Any) -> tuple[Call, CountingObserver, bool]:
    """A reply that one agent begins, and another takes up; whether there was anything to take up."""
    clock, observer = StoppedClock(), CountingObserver()
    call = new_call(**session)
    call.voice_locked = True  # It has spoken before: what it writes is what it is about to say.
    happen(call, inputs.CreateResponse({}), now_ms=clock.wall_ms())
    try:
        await Performance(DyingStage(call, clock, dies_at), first, clock, CountingObserver()).run()
    except Died:
        call = moved(call)
        clock.now_s += 3
        await Performance(RecordingStage(call, clock), second, clock, observer).run()
        return call, observer, True
    return call, observer, False


async def steps(agent: Any, **session: Any) -> int:
    """How many things happen in a reply that nothing interrupts."""
    clock, call = StoppedClock(), new_call(**session)
    happen(call, inputs.CreateResponse({}))
    stage = RecordingStage(call, clock)
    await Performance(stage, agent, clock, CountingObserver()).run()
    return len(stage.fed)


@pytest.mark.parametrize("audio_format", FORMATS.values())
async def test_an_agent_that_says_the_same_again_goes_on_at_the_next_sample(audio_format: Any) -> None:
    """Wherever its pod is lost: all of it is heard once, in every format, and nothing differs."""
    session = {"audio": {"output": {"format": audio_format.as_json()}}}
    whole, _, _ = await interrupted(Speaker(), Speaker(), 1000, **session)
    expected = b"".join(entry.audio for entry in whole.outbox.after(0))
    for dies_at in range(await steps(Speaker(), **session)):
        call, observer, _ = await interrupted(Speaker(), Speaker(), dies_at, **session)
        assert b"".join(entry.audio for entry in call.outbox.after(0)) == expected
        assert texts_of(call) == ["".join(SENTENCES)]
        assert not [name for name, _ in observer.counts if name == "agent_fault"]


@pytest.mark.parametrize("word_ms", [WORD_MS, OTHER_WORD_MS])
async def test_another_voice_goes_on_at_a_word(word_ms: int) -> None:
    """The word that was cut off is said anew; no other is heard twice, and none is left out."""
    lengths = {0: WORD_MS, 1: word_ms}
    told = 0
    for dies_at in range(await steps(Speaker())):
        call, observer, _ = await interrupted(Speaker(), Speaker(voice=1, word_ms=word_ms), dies_at)
        heard = heard_of(call)
        assert [word for word, voice, ms in heard if ms == lengths[voice]] == " ".join(SENTENCES).split()
        assert len([ms for _, voice, ms in heard if ms < lengths[voice]]) <= 1
        assert texts_of(call) == ["".join(SENTENCES)]
        told += observer.counts.get(("agent_fault", "other_audio"), 0)
    assert told > 5


async def test_another_voice_that_does_not_tell_its_words_goes_on_about_there() -> None:
    """Letters are taken to pass at an even pace: what is left out or heard twice is about a word."""
    expected = " ".join(SENTENCES).split()
    for dies_at in range(await steps(Speaker(tells=False))):
        call, _, _ = await interrupted(Speaker(tells=False), Speaker(voice=1, tells=False), dies_at)
        words = [word for word, _ in groupby(word for word, _, _ in heard_of(call))]
        assert len(set(expected) - set(words)) + len(words) - len(set(words)) <= 2, words


@pytest.mark.parametrize("modalities", [["audio"], ["text"]])
async def test_another_text_goes_on_with_a_sentence(modalities: list[str]) -> None:
    """What had been begun is passed over, and what comes is an item of its own; the log names the agent."""
    total = 0
    for dies_at in range(await steps(Speaker(), output_modalities=modalities)):
        with capture_logs() as logs:
            call, observer, _ = await interrupted(Speaker(), Speaker(OTHERS), dies_at, output_modalities=modalities)
        output = texts_of(call)
        if len(output) == 1:
            assert dies_at == 0
            assert output == ["".join(OTHERS)]
            continue
        begun, rest = output
        assert "".join(SENTENCES).startswith(begun)
        words = [word for word, _, _ in heard_of(call)] if modalities == ["audio"] else " ".join(output).split()
        count = len([text for text in SENTENCES if set(text.split()) & set(words)])
        assert rest == "".join(OTHERS[count:])
        before = len(words) - len(rest.split())
        assert words[before:] == rest.split()
        assert words[:before][: len(begun.split())] == begun.split()
        assert before - len(begun.split()) <= 1
        assert observer.counts["agent_fault", "other_text"] == 1
        [told] = [line for line in logs if "not what was said" in line["event"]]
        assert told["agent"] == "speaker"
        total += 1
    assert total > 1


async def test_a_reply_that_is_shorter_when_made_again_is_noticed() -> None:
    """There is nothing more to say, and it is told."""
    call, observer, _ = await interrupted(Speaker(), Speaker(SENTENCES[:1]), await steps(Speaker()) - 4)
    assert observer.counts["agent_fault", "other_text"] == 1
    assert "".join(SENTENCES).startswith(texts_of(call)[0])


async def test_a_reply_in_one_piece_that_is_another_goes_on_in_its_middle() -> None:
    """The audio of the sentences that are passed over is found by the alignment."""
    first, second = Speaker(["".join(SENTENCES)]), Speaker(["".join(OTHERS)])
    call, _, _ = await interrupted(first, second, 3)
    assert texts_of(call) == ["one", "".join(OTHERS[1:])]
    assert [word for word, _, _ in heard_of(call)] == ["one", *"".join(OTHERS[1:]).split()]


@pytest.mark.parametrize("end", [". ", "。", "। ", "؟ ", "۔ "])
async def test_a_sentence_ends_in_any_script(end: str) -> None:
    """Another text goes on with the second sentence where the first had been begun."""
    others = [f"a b c{end}", f"d e f{end}"]
    first, second = Speaker(["one two three", end]), Speaker(others)
    call, _, was_cut = await interrupted(first, second, 1, output_modalities=["text"])
    assert was_cut
    assert texts_of(call) == ["one two three", others[1]]


async def test_another_text_whose_sentences_do_not_end_goes_on_all_the_same() -> None:
    """Nothing of it says where the caller is: it goes on with a word, not much later than it was cut off."""
    words = [f"word{number}" for number in range(200)]
    first, second = Speaker(["one two three", "."]), Speaker([f"{word} " for word in words])
    call, observer, _ = await interrupted(first, second, 1, output_modalities=["text"])
    begun, rest = texts_of(call)
    passed = words[: -len(rest.split())]
    assert rest.split() == words[len(passed) :]
    assert replay.LONGEST_SENTENCE < len(begun) + len(" ".join(passed)) < replay.LONGEST_SENTENCE + 40
    assert observer.counts["agent_fault", "other_text"] == 1


async def test_an_agent_that_goes_on_by_itself_is_not_compared() -> None:
    """`replays` False: it is told what is durable."""

    class GoesOn(Speaker):
        replays = False

        async def reply(self, turn: Turn) -> AsyncIterator[ReplyPart]:
            yield Text("and so on.")

    call, observer, _ = await interrupted(Speaker(), GoesOn(), 3)
    assert texts_of(call)[0].endswith("and so on.")
    assert not [name for name, _ in observer.counts if name == "agent_fault"]


def test_formats_are_those_the_tests_mean() -> None:
    """PCM and G.711."""
    assert {PCM, PCMU} < set(FORMATS.values())


class Miscounting(Speaker):
    """Its words count beyond its text."""

    def words(self, sentence: str) -> list[list[int]]:
        return [[ms, chars * 10] for ms, chars in super().words(sentence)]


async def test_words_that_count_beyond_their_text_end_with_it() -> None:
    """Wherever its pod is lost: the reply goes on, and what is kept of it can be cut anywhere."""
    for dies_at in range(await steps(Miscounting())):
        call, observer, _ = await interrupted(Miscounting(), Miscounting(), dies_at)
        assert texts_of(call) == ["".join(SENTENCES)]
        assert ("agent_fault", "raised") not in observer.counts


def test_words_in_a_record_that_count_beyond_their_text_end_with_its_last() -> None:
    """Another version may have written them."""
    assert said_to("one two", [[0, 0], [500, 70], [1000, 80]], 900) == 4
