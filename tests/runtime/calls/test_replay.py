"""A reply that goes on after its pod was lost, by an agent that says the same again, or does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any
from zlib import crc32

import pytest
from structlog.testing import capture_logs

from tests.call.calls import emitted, feed, moved, new_call
from tests.runtime.calls.test_responding import RecordingHost
from tests.runtime.clocks import StoppedClock
from tests.runtime.rig import CountingObserver
from voice_agent.agents.base import Audio, ResponsePart, Text, Turn
from voice_agent.call import inputs
from voice_agent.call.alignment import Alignment, Piece, said_to
from voice_agent.call.audio import FORMATS, PCM, PCMU
from voice_agent.call.record import CallRecord
from voice_agent.call.response import Response, ResponseContent, ResponseRequest
from voice_agent.kit.clip import Clip
from voice_agent.runtime.calls.replay import Replay
from voice_agent.runtime.calls.responding import ResponseRun
from voice_agent.runtime.engine.passed_sentences import LONGEST_SENTENCE

SENTENCES = ("one two three. ", "four five six seven. ", "eight nine. ")
OTHERS = ("eins zwei drei. ", "vier fuenf sechs. ", "sieben acht neun. ", "zehn. ")
WORDS = [word for text in (*SENTENCES, *OTHERS) for word in text.split()]
WORD_MS, OTHER_WORD_MS = 250, 190
LOUD = 100


class Died(BaseException):
    """The pod is gone."""


class DyingHost(RecordingHost):
    """Its pod is lost before the n-th thing that happens."""

    def __init__(self, call: CallRecord, clock: StoppedClock, dies_at: int) -> None:
        super().__init__(call, clock)
        self.dies_at = dies_at

    def feed(self, event: inputs.Input) -> None:
        if len(self.fed) == self.dies_at:
            raise Died
        super().feed(event)


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

    async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
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


def heard_of(call: CallRecord) -> list[tuple[str, int, int]]:
    """The words in the audio that was sent, each with its voice and how many milliseconds of it; for PCM."""
    audio = b"".join(entry.audio for entry in call.outbox.after(0))
    levels = [int.from_bytes(audio[at : at + 2], "little") for at in range(0, len(audio), PCM.size(10))]
    return [(WORDS[level // LOUD - 1], level % LOUD, 10 * len([*same])) for level, same in groupby(levels)]


def texts_of(call: CallRecord) -> list[str]:
    """What the items of the reply say."""
    done = emitted(call)[-1] if call.outbox.unsaved else {}
    assert done["type"] == "response.done"
    return [item["content"][0].get("transcript", item["content"][0].get("text")) for item in done["response"]["output"]]


async def interrupted(
    first: Any, second: Any, dies_at: int, *, has_spoken: bool = True, **session: Any
) -> tuple[CallRecord, CountingObserver, bool]:
    """A reply that one agent begins, and another takes up; whether there was anything to take up.

    `has_spoken`: in an earlier reply, so that what the agent writes is what it is about to say.
    """
    clock, observer = StoppedClock(), CountingObserver()
    call = new_call(**session)
    call.session.voice_locked = has_spoken
    feed(call, inputs.CreateResponse({}), now_ms=clock.wall_ms())
    try:
        await ResponseRun(DyingHost(call, clock, dies_at), first, clock, CountingObserver()).run()
    except Died:
        call = moved(call)
        clock.now_s += 3
        await ResponseRun(RecordingHost(call, clock), second, clock, observer).run()
        return call, observer, True
    return call, observer, False


async def steps(agent: Any, **session: Any) -> int:
    """How many things happen in a reply that nothing interrupts."""
    clock, call = StoppedClock(), new_call(**session)
    feed(call, inputs.CreateResponse({}))
    host = RecordingHost(call, clock)
    await ResponseRun(host, agent, clock, CountingObserver()).run()
    return len(host.fed)


@pytest.mark.parametrize("audio_format", FORMATS.values())
async def test_an_agent_that_says_the_same_again_goes_on_at_the_next_sample(audio_format: Any) -> None:
    """Wherever its pod is lost: all of it is heard once, in every format, and nothing differs."""
    session: dict[str, Any] = {"audio": {"output": {"format": audio_format.as_json()}}}
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


async def test_another_text_goes_on_behind_what_is_the_same() -> None:
    """A sentence that was said alike is heard once, as are those that another text says instead of others."""
    second = [SENTENCES[0], *OTHERS[1:]]
    told = 0
    for dies_at in range(1, await steps(Speaker())):
        call, observer, _ = await interrupted(Speaker(), Speaker(second), dies_at)
        words = [word for word, _, _ in heard_of(call)]
        assert words[:3] == SENTENCES[0].split()
        assert len(words) == len(set(words))
        assert words[-1] == "zehn."
        told += observer.counts.get(("agent_fault", "other_text"), 0)
    assert told > 5


async def test_what_another_voice_says_anew_is_aligned_with_its_own_audio() -> None:
    """So that an interruption after that leaves what was heard: "one", and half of "two", which comes again."""
    call, _, _ = await interrupted(Speaker(), Speaker(voice=1), 5)
    entry = call.conversation.get(call.conversation.last_id or "")
    assert entry is not None
    assert entry.alignment is not None
    assert entry.alignment[:6] == [[0, 0], [250, 4], [400, 4], [650, 8], [900, 15], [1150, 20]]


async def test_another_voice_may_say_it_in_shorter_pieces() -> None:
    """What was heard of one piece may be several of its own; it is told once, and said anew from the same word."""
    whole = "".join(SENTENCES)
    told = 0
    for dies_at in range(await steps(Speaker([whole]))):
        call, observer, _ = await interrupted(Speaker([whole]), Speaker(voice=1), dies_at)
        heard = heard_of(call)
        assert [word for word, _, ms in heard if ms == WORD_MS] == whole.split()
        assert len([ms for _, _, ms in heard if ms < WORD_MS]) <= 1
        assert texts_of(call) == [whole]
        faults = [counted for (name, _), counted in observer.counts.items() if name == "agent_fault"]
        assert faults in ([], [1])
        told += sum(faults)
    assert told > 5


async def taken_up(agents: Sequence[Speaker], dies_at: Sequence[int]) -> CallRecord:
    """A reply of several owners in turn; each but the last may die."""
    clock, call = StoppedClock(), new_call()
    call.session.voice_locked = True
    feed(call, inputs.CreateResponse({}), now_ms=clock.wall_ms())
    for agent, moment in zip(agents, (*dies_at, 1000), strict=True):
        try:
            await ResponseRun(DyingHost(call, clock, moment), agent, clock, CountingObserver()).run()
        except Died:
            call = moved(call)
            clock.now_s += 3
        else:
            break
    return call


@pytest.mark.parametrize("whole", [(), (0,), (1,), (0, 1)])
async def test_several_voices_go_on_at_a_word_in_whatever_pieces_they_speak(whole: tuple[int, ...]) -> None:
    """Whenever one after the other is lost: each word is heard to its end once. `whole`: who says all in one piece.

    Only the last word of a sentence may be heard twice, where one voice ends a piece with it and another does not.
    """
    text = "".join(SENTENCES)
    for first in range(0, 27, 3):
        for second in (1, 2, 5, 9, 12, 17):
            agents = [Speaker([text] if voice in whole else SENTENCES, voice=voice) for voice in range(3)]
            heard = heard_of(await taken_up(agents, (first, second)))
            words = [word for word, _, ms in heard if ms == WORD_MS]
            assert [word for word, _ in groupby(words)] == text.split(), (first, second)
            assert len(words) - len(text.split()) <= bool(whole), (first, second)


async def test_an_agent_that_has_never_spoken_says_all_it_has_to_say_in_writing() -> None:
    """Another text passes over the sentences it wrote, though they were meant to be spoken."""

    class Writer(Speaker):
        async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
            for sentence in self.sentences:
                yield Text(sentence)

    call, _, _ = await interrupted(Writer(), Writer(OTHERS), 2, has_spoken=False)
    assert texts_of(call) == ["".join(SENTENCES[:2]), "".join(OTHERS[2:])]


async def test_another_voice_that_says_less_is_noticed() -> None:
    """Though nothing of what it says is new."""
    call, observer, _ = await interrupted(Speaker(SENTENCES[:1]), Speaker(["one two "], voice=1), 9)
    assert observer.counts["agent_fault", "other_text"] == 1
    assert texts_of(call) == [SENTENCES[0]]


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
    assert LONGEST_SENTENCE < len(begun) + len(" ".join(passed)) < LONGEST_SENTENCE + 40
    assert observer.counts["agent_fault", "other_text"] == 1


async def test_an_agent_that_goes_on_by_itself_is_not_compared() -> None:
    """`replays` False: it is told what is durable."""

    class GoesOn(Speaker):
        replays = False

        async def reply(self, turn: Turn) -> AsyncIterator[ResponsePart]:
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


SAID, OTHER, NEW = b"\1\0" * 2400, b"\2\0" * 2400, b"\3\0" * 2400
"""A tenth of a second each."""


def again(
    text: str = "",
    *,
    piece_from: int | None = None,
    audio: bytes = b"",
    before: bytes = b"",
    made_ms: int = 0,
    words: Alignment | None = None,
    functions: int = 0,
    is_open: bool = True,
    replays: bool = True,
    speaks: bool = True,
) -> Replay:
    """A reply of which so much is durable.

    The text of its last piece begins at a character (None: it has no item) and is said by `audio`, behind `before`.
    """
    response = Response(
        "resp_1",
        ResponseRequest({}, 0),
        ResponseContent(text, audio_bytes=len(before) + len(audio)),
        functions_called=functions,
    )
    if piece_from is not None:
        response.output_ids = ["item_1"]
        response.open_item.item_id = "item_1" if is_open else None
        response.said.piece = Piece(piece_from, len(before), PCM.size(made_ms), words or [])
        response.said.checksum = crc32(audio)
    return Replay(response, PCM, replays=replays, speaks=speaks)


def test_of_a_new_reply_all_is_new() -> None:
    """Audio without text, too."""
    made = again()
    assert made.audio(NEW) == NEW
    assert made.text("One.") == "One."
    assert made.is_new_call()
    made.end()
    assert made.differs == ""


def test_the_same_is_new_from_where_it_was_cut_off() -> None:
    """However it is cut into pieces now."""
    made = again("One. Two", piece_from=5, audio=SAID, before=OTHER)
    assert made.text("One.") == ""
    assert made.text(" ") == ""
    assert made.audio(OTHER) == b""
    made.begin_piece()
    assert made.text("Two three.") == " three."
    assert made.audio(SAID[:100]) == b""
    assert made.audio(SAID[100:] + NEW) == NEW
    assert made.audio(NEW) == NEW
    made.end_piece()
    made.end()
    assert (made.differs, made.held_from, bytes(made.held)) == ("", None, b"")


def test_audio_behind_what_was_said_alike_is_not_held() -> None:
    """Of another text that comes then only its own."""
    made = again("One. Two. ", piece_from=0, audio=SAID)
    assert made.text("One. ") == ""
    assert made.audio(SAID + NEW) == NEW
    made.end_piece()
    made.begin_piece()
    assert made.text("Six. ") == "Six. "
    assert made.audio(OTHER) == b""
    assert (made.differs, made.held_from, bytes(made.held)) == ("text", 0, OTHER)


@pytest.mark.parametrize(("sent_ms", "said_to_char"), [(0, 0), (249, 0), (250, 4), (499, 4), (500, 8), (799, 8)])
@pytest.mark.parametrize("piece_from", [0, 5])
def test_another_voice_says_it_from_the_word_that_was_cut_off(sent_ms: int, said_to_char: int, piece_from: int) -> None:
    """To the millisecond at which the voice before began it, in the first piece and in a later one."""
    words = [[250, 4], [500, 8]]
    text = "Hi!. one two three"[5 - piece_from :]
    sent = bytes(PCM.size(sent_ms))
    made = again(text, piece_from=piece_from, audio=sent, before=OTHER * (piece_from > 0), made_ms=800, words=words)
    if piece_from:
        assert made.text(text[:piece_from]) == ""
        assert made.audio(OTHER) == b""
        made.begin_piece()
    assert made.text(text[piece_from:]) == ""
    assert made.audio(OTHER) == (b"" if sent else OTHER)
    made.end_piece()
    assert made.said_to == piece_from + said_to_char
    assert made.held_from == (said_to_char if sent else None)
    assert made.differs == ("audio" if sent else "")


@pytest.mark.parametrize(("more", "held_from"), [(-1, None), (0, None), (1, 1), (2, 2)])
def test_what_another_voice_says_is_held_up_to_where_it_is_new(more: int, held_from: int | None) -> None:
    """A later piece that is all new is not waited for."""
    made = again("one two three", piece_from=0, audio=SAID, made_ms=200, words=[[50, 4], [90, 8]])
    at = made.said_to - more
    assert made.text("one two three"[:at]) == ""
    assert made.audio(OTHER) == b""
    assert made.differs == "audio"
    made.held.clear()
    made.begin_piece()
    assert made.held_from == held_from
    assert made.audio(NEW) == (NEW if held_from is None else b"")


def test_of_an_item_that_is_closed_audio_is_past_until_there_is_new_text() -> None:
    """What closed it is not known; text that comes again is no news, and one without content neither."""
    made = again("One. ", piece_from=0, audio=SAID, is_open=False)
    assert made.text("One. ") == ""
    assert made.audio(OTHER) == b""
    assert made.text("Two. ") == "Two. "
    assert made.text("") == ""
    assert made.audio(NEW) == NEW
    assert made.differs == ""


def test_behind_the_last_call_that_is_durable_all_is_new() -> None:
    """Audio in front of it is past, whether or not an item is open behind it."""
    for audio, is_open in [(SAID, True), (b"", False)]:
        made = again("One. ", piece_from=5, audio=audio, before=OTHER, functions=2, is_open=is_open)
        assert made.text("One. ") == ""
        assert made.audio(OTHER) == b""
        assert not made.is_new_call()
        assert made.audio(NEW) == b""
        assert not made.is_new_call()
        assert made.audio(audio + NEW) == NEW
        assert made.is_new_call()
        assert made.differs == ""


def test_another_text_behind_an_item_that_is_closed_is_heard() -> None:
    """All of the item had been said: so many sentences are passed over, and the audio of the next is new."""
    made = again("One. Two. ", piece_from=5, audio=SAID, before=SAID, is_open=False)
    assert made.text("Six. Seven. Eight. ") == "Eight. "
    assert (made.held_from, made.audio(NEW)) == (12, b"")
    made.held_from = None
    assert made.audio(NEW) == NEW


def test_an_agent_that_goes_on_by_itself_says_only_what_is_new() -> None:
    """In an item that is open or behind it; what it calls is new, too."""
    for is_open in (True, False):
        made = again("One. ", piece_from=0, audio=SAID, functions=1, is_open=is_open, replays=False)
        assert made.audio(NEW) == NEW
        assert made.text("Two. ") == "Two. "
        assert made.is_new_call()
        made.end_piece()
        made.end()
        assert (made.differs, made.held_from) == ("", None)


@pytest.mark.parametrize(
    ("deltas", "new"),
    [
        (["Six. ", "Seven. "], ["", "Seven. "]),
        (["Six. Seven. "], ["Seven. "]),
        (["Si", "x", ". ", "Seven. "], ["", "", "", "Seven. "]),
        (["Si", "x. Se", "ven. "], ["", "Se", "ven. "]),
        (["One. Tw", "enty. "], ["", "Twenty. "]),
        (["Six, ", "One. Two. "], ["", "Two. "]),
    ],
)
def test_another_text_is_new_behind_the_sentences_that_were_begun(deltas: list[str], new: list[str]) -> None:
    """However it is cut; the audio of what was passed over with it is found by its characters."""
    made = again("One. Two. ", piece_from=5, before=SAID)
    assert [made.text(delta) for delta in deltas] == new
    assert made.differs == "text"
    assert made.held_from == len("".join(deltas)) - len("".join(new))
    made.begin_piece()
    assert made.audio(NEW) == NEW
    made.end()


def test_a_later_piece_counts_what_was_passed_over_from_its_own_beginning() -> None:
    """Of another text whose piece holds the end of what is passed over."""
    made = again("One. Two. Three. ", piece_from=10, audio=SAID, before=SAID, made_ms=500)
    assert made.text("One. ") == ""
    assert made.audio(SAID) == b""
    made.begin_piece()
    assert made.text("Five. Six. Seven. ") == "Seven. "
    assert made.held_from == len("Five. Six. ")
    assert made.audio(OTHER) == b""
    made.begin_piece()
    assert made.audio(NEW) == NEW


def test_what_was_said_in_a_piece_of_its_own_is_not_said_again() -> None:
    """Though the sentence that it began is another one after all."""
    made = again("One. Two. ", piece_from=5, before=SAID)
    assert made.text("One. ") == ""
    assert made.audio(SAID) == b""
    made.begin_piece()
    assert made.text("Tw") == ""
    assert made.audio(NEW) == NEW
    made.begin_piece()
    assert made.text("enty. ") == "enty. "
    assert made.held_from == 0


@pytest.mark.parametrize("sent", [b"", SAID])
def test_a_piece_that_begins_in_front_of_the_durable_one_is_not_compared_with_it(sent: bytes) -> None:
    """It is said from the word on that is new, and the call is to know from where."""
    made = again("One two. Three. ", piece_from=4, audio=sent, before=SAID, made_ms=100)
    assert made.text("One two. Three. ") == ""
    assert made.audio(sent or OTHER) == b""
    assert made.audio(OTHER) == b""
    assert (made.differs, made.held_from) == ("audio", made.said_to)
    assert made.held == (sent or OTHER) + OTHER
    assert made.begins_at(made.said_to) == (made.said_to if made.said_to < 16 else None)


def test_where_a_piece_begins_is_told_within_what_is_durable_alone() -> None:
    """Not of an item that is closed, nor of another text, nor of one that goes on by itself."""
    made = again("One. Two. ", piece_from=5, before=SAID)
    assert (made.begins_at(0), made.begins_at(9), made.begins_at(10)) == (0, 9, None)
    made.text("One. ")
    made.begin_piece()
    assert (made.begins_at(0), made.begins_at(5)) == (5, None)
    made.text("Six. ")
    assert made.begins_at(0) is None
    assert again("One. ", piece_from=0, is_open=False).begins_at(0) is None
    assert again("One. ", piece_from=0, replays=False).begins_at(0) is None


def test_a_shorter_text_instead_is_heard_as_it_comes() -> None:
    """What is new of it stands where something else is durable: nothing of that is compared or cut."""
    made = again("One. Two. Three. ", piece_from=10, before=SAID)
    assert made.text("A. B. ") == ""
    made.begin_piece()
    assert made.text("C. ") == "C. "
    assert made.audio(NEW) == NEW


def test_while_a_text_is_passed_over_so_is_its_audio() -> None:
    """The end of its sentence may be far away, and all that was the same before it."""
    for piece_from, deltas in [(0, ["Six, "]), (5, ["One. ", "Tw", "enty, "])]:
        made = again("One. Two. ", piece_from=piece_from, audio=SAID, before=SAID, made_ms=100)
        assert [made.text(delta) for delta in deltas] == [""] * len(deltas)
        assert made.audio(OTHER) == b""
        assert made.held_from is None


@pytest.mark.parametrize(("sent_ms", "new"), [(150, "五。六。"), (350, "六。")])
def test_a_sentence_whose_end_was_being_said_is_not_the_next_one(sent_ms: int, new: str) -> None:
    """In the pause behind a sentence nothing of the one after it was heard."""
    made = again("一。二。", piece_from=0, audio=bytes(PCM.size(sent_ms)), made_ms=400)
    assert made.text("四。五。六。") == new
