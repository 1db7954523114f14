"""An agent's audio: cut into chunks, let out at the pace of speech, and told of once."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any
from zlib import crc32

import pytest

from tests.runtime.clocks import StoppedClock
from voice_agent.call.alignment import Alignment, Piece
from voice_agent.call.audio import PCM, PCMU, Converter
from voice_agent.call.inputs import Input, ResponseAudio
from voice_agent.call.response import OpenItem, Response, ResponseContent, ResponseRequest
from voice_agent.call.response_output import STALL_MS
from voice_agent.runtime.engine.audio_pacer import CHUNK_MS, PIECE_BYTES, AudioPacer
from voice_agent.runtime.engine.sent_audio import PieceAgain, said_chars

LEAD_MS = 400


class RecordingSink:
    """Notes what comes, and when."""

    def __init__(self, clock: StoppedClock) -> None:
        self.clock = clock
        self.fed: list[ResponseAudio] = []
        self.at_s: list[float] = []
        self.waits = 0

    def feed(self, event: Input) -> None:
        assert isinstance(event, ResponseAudio)
        assert self.waits == len(self.fed), "not before the store can bear it"
        self.fed.append(event)
        self.at_s.append(self.clock.now_s - 1000)

    async def wait_for_capacity(self) -> None:
        self.waits += 1

    @property
    def audio(self) -> bytes:
        return b"".join(part.audio for part in self.fed)

    @property
    def told(self) -> list[tuple[int, Alignment]]:
        """What each chunk tells of its piece."""
        """With each chunk: how much was made, and all the words that the call knows of by then."""
        found: list[tuple[int, Alignment]] = []
        words: Alignment = []
        for part in self.fed:
            if part.made_bytes:
                assert part.words_from <= len(words), "no word is left out"
                words = [*words[: part.words_from], *part.words]
            found.append((part.made_bytes, words if part.made_bytes else []))
        return found


def pacing(
    response: Response | None = None, *, lead_ms: int = LEAD_MS, target: Any = PCM
) -> tuple[AudioPacer, RecordingSink]:
    """A pacer for what goes on of a reply."""
    response = response or Response("resp_1", ResponseRequest({}, 0))
    clock = StoppedClock()
    sink = RecordingSink(clock)
    piece = PieceAgain()
    if response.said.audio_bytes:
        piece.expect_again(response.said.audio_bytes, response.said.checksum, said_chars(response, target))
    return AudioPacer(sink, response, target, piece, clock, lead_ms=lead_ms), sink


def speech(ms: int, *, seed: int = 0) -> bytes:
    """Audio of which no two samples in a row are alike."""
    return b"".join(((seed + number) % 30_000).to_bytes(2, "little") for number in range(PCM.size(ms) // 2))


def said(text: str, audio: bytes, *, made_bytes: int = 0, words: Alignment | None = None) -> Response:
    """A reply whose open item is one piece of which so much was sent."""
    return Response(
        "resp_1",
        ResponseRequest({}, 0),
        ResponseContent(text, [], Piece(0, 0, made_bytes, words or []), len(audio), crc32(audio)),
        OpenItem("item_1"),
        output_ids=["item_1"],
    )


async def test_a_whole_chunk_waits_for_nothing_more() -> None:
    """What is left at the end is a shorter one; together they are what the agent said."""
    pacer, sink = pacing()
    told: list[int] = []
    pacer.on_piece = told.append
    await pacer.begin("one")
    audio = speech(350)
    await pacer.write(audio[: PCM.size(100)], PCM)
    assert len(sink.fed) == 1
    await pacer.write(audio[PCM.size(100) :], PCM)
    await pacer.finish()
    assert [PCM.ms(len(part.audio)) for part in sink.fed] == [100, 100, 100, 50]
    assert sink.audio == audio
    assert told == [0]


@pytest.mark.parametrize("target", [PCM, PCMU])
async def test_long_audio_is_what_was_said_and_leaves_others_their_turns(target: Any) -> None:
    """It is converted in pieces, with one turn of the event loop between two of them."""
    pacer, sink = pacing(lead_ms=60_000, target=target)
    audio, turns = speech(5 * PIECE_BYTES // PCM.bytes_per_ms), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.create_task(others())
    await pacer.write(audio, PCM)
    seen = turns
    watching.cancel()
    await pacer.finish()
    assert sink.audio == Converter(PCM, target).convert(audio)
    assert seen == len(range(0, len(audio), PIECE_BYTES)) - 1


async def test_what_was_made_is_told_once_in_the_callers_format() -> None:
    """With the words as they count from the beginning of the piece; none is beyond its text."""
    pacer, sink = pacing(target=PCMU)
    await pacer.begin("one ")
    await pacer.begin("two ")
    await pacer.write(speech(200), PCM, [[50, 4]])
    await pacer.write(speech(200), PCM, [[100, 6], [150, 99]])
    await pacer.write(speech(100), PCM)
    await pacer.begin("th")
    await pacer.begin("ree")
    await pacer.write(speech(100), PCM, [[40, 3], [60, 9]])
    await pacer.finish()
    first, second, third = [[50, 4]], [[50, 4], [300, 6], [350, 8]], [[40, 3], [60, 5]]
    made = zip(map(PCMU.size, (200, 400, 500, 100)), (first, second, second, third), strict=True)
    assert [told for told in sink.told if told != (0, [])] == list(made)
    assert len(sink.told) > 5


async def test_a_piece_is_converted_as_if_it_were_alone() -> None:
    """Another pod may have to make it again, without the one before it."""
    pacer, sink = pacing()
    sounds = [b"\x10" * PCMU.size(100), b"\x90" * PCMU.size(100)]
    for sound in sounds:
        await pacer.begin("word ")
        await pacer.write(sound, PCMU)
    await pacer.finish()
    assert sink.audio == b"".join(Converter(PCMU, PCM).convert(sound) for sound in sounds)


async def test_that_no_more_is_made_is_told_though_all_was_sent() -> None:
    """Of a sentence that came in parts, of which each was a whole chunk."""
    pacer, sink = pacing()
    await pacer.begin("one two")
    for _ in range(2):
        await pacer.write(speech(CHUNK_MS), PCM, is_partial=True)
    assert [part.is_partial for part in sink.fed] == [True, True]
    await pacer.finish()
    last = sink.fed[-1]
    assert (last.audio, last.made_bytes, last.is_partial) == (b"", PCM.size(2 * CHUNK_MS), False)
    await pacer.finish()
    assert len(sink.fed) == 3


async def test_who_begins_again_counts_what_it_says_again() -> None:
    """Though the item is open."""
    pacer, sink = pacing(said("", speech(80)))
    await pacer.write(speech(100), PCM)
    await pacer.finish()
    assert sink.told == [(PCM.size(100), [])]
    assert sink.audio == speech(100)[PCM.size(80) :]


async def test_audio_without_a_sample_changes_nothing() -> None:
    """Text behind it belongs to the same piece, if there was no other audio."""
    pacer, sink = pacing()
    await pacer.begin("one ")
    await pacer.write(b"", PCM)
    await pacer.begin("two")
    await pacer.write(speech(100), PCM, [[50, 7]])
    await pacer.write(b"", PCM)
    await pacer.begin("three")
    await pacer.write(speech(100), PCM, [[50, 7]])
    assert sink.told == [(PCM.size(100), [[50, 7]]), (PCM.size(100), [[50, 5]])]


async def test_audio_is_let_out_so_far_ahead_after_a_pause_too() -> None:
    """What comes late is late by as much; the chunks behind it keep the pace, and do not make up for it."""
    pacer, sink = pacing()
    await pacer.write(speech(1000), PCM)
    sink.clock.now_s = 1003.0
    await pacer.write(speech(1000), PCM)
    due = [max(0.0, n * 0.1 - 0.4) for n in range(10)]
    assert [round(at_s, 6) for at_s in sink.at_s] == [round(at_s, 6) for at_s in due + [3.0 + at_s for at_s in due]]


@pytest.mark.parametrize(("late_ms", "moved_ms"), [(STALL_MS - 0.01, 0), (STALL_MS + 0.01, STALL_MS + 0.01)])
async def test_a_delay_that_no_caller_hears_is_made_up_for(late_ms: float, moved_ms: float) -> None:
    """Up to a frame; the call counts the same, so that both know what is being heard."""
    pacer, sink = pacing(lead_ms=0)
    await pacer.write(speech(CHUNK_MS), PCM)
    sink.clock.now_s = 1000 + (CHUNK_MS + late_ms) / 1000
    await pacer.write(speech(2 * CHUNK_MS), PCM)
    expected = [0.0, 0.1 + late_ms / 1000, 0.2 + moved_ms / 1000]
    assert [round(at_s, 6) for at_s in sink.at_s] == [round(at_s, 6) for at_s in expected]


async def test_what_another_pod_sent_counts_as_sent() -> None:
    """The next chunk goes out at once, and those behind it at the pace of speech."""
    audio = speech(3000)
    pacer, sink = pacing(said("one", audio[: PCM.size(2000)]), lead_ms=0)
    await pacer.write(audio, PCM)
    assert sink.audio == audio[PCM.size(2000) :]
    assert [round(behind - before, 6) for before, behind in pairwise(sink.at_s)] == [0.1] * 9
    assert sink.at_s[0] == 0.0


@pytest.mark.parametrize(("words", "from_ms"), [([[250, 4], [500, 8]], 250), ([], 307)])
async def test_of_another_voice_the_rest_is_a_piece_of_its_own(words: Alignment, from_ms: int) -> None:
    """It is cut at the word, in chunks like all audio, and told as if that were its beginning."""
    response = said("one two three", speech(300), made_bytes=PCM.size(800), words=[[250, 4], [500, 8]])
    pacer, sink = pacing(response)
    told: list[int] = []
    pacer.on_piece = told.append
    await pacer.begin_again("one two three")
    audio = speech(1000, seed=5)
    await pacer.write(audio, PCM, words)
    assert sink.fed == []
    await pacer.finish()
    assert told == [4]
    assert sink.audio == audio[PCM.size(from_ms) :]
    assert max(len(part.audio) for part in sink.fed) == PCM.size(CHUNK_MS)
    rest = [[250, 4]] if words else []
    assert sink.told[0] == (PCM.size(1000 - from_ms), rest)
    behind = len(sink.fed)
    await pacer.write(speech(100), PCM)
    assert len(sink.fed) > behind, "what comes behind it waits for nothing"


async def test_another_voice_that_was_not_heard_at_all_is_heard_from_its_beginning() -> None:
    """To the sample."""
    pacer, sink = pacing(said("one two three", speech(20), made_bytes=PCM.size(800), words=[[250, 4]]))
    await pacer.begin_again("one two three")
    audio = speech(500, seed=5)
    await pacer.write(audio, PCM, [[200, 4]])
    await pacer.finish()
    assert sink.audio == audio
    assert sink.told[0] == (len(audio), [[200, 4]])


async def test_of_another_voice_that_says_nothing_new_nobody_hears() -> None:
    """Nor is anything told of it."""
    pacer, sink = pacing(said("one two", speech(500), made_bytes=PCM.size(500)))
    told: list[int] = []
    pacer.on_piece = told.append
    await pacer.begin_again("one two")
    await pacer.write(speech(400, seed=5), PCM)
    await pacer.finish()
    assert (sink.fed, told) == ([], [])
    assert pacer._passed.held == b""
    await pacer.begin(" three")
    assert isinstance(pacer._passed, PieceAgain)
    pacer._passed.expect_new()
    await pacer.write(speech(100), PCM)
    assert sink.audio == speech(100)
