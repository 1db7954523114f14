"""An ear that takes frames: what it gets, when, and on which pod."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.call.calls import FRAME, manual_call, moved, new_call
from tests.runtime.alone import Alone, alone, turns_pass
from tests.runtime.calls.test_long_messages import talk
from tests.runtime.rig import CountingObserver
from tests.waiting import PATIENCE_S, until
from voice_agent.call.audio import PCM
from voice_agent.call.bounds import MAX_UNTRANSCRIBED
from voice_agent.call.input_buffer import InputAudioBuffer
from voice_agent.call.inputs import AppendAudio, ClearAudio, CommitAudio, CreateItem, HandoffPlanned, UpdateSession
from voice_agent.call.record import CallRecord
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.runtime.calls import listening
from voice_agent.runtime.calls.listening import Listening
from voice_agent.runtime.calls.streamed_transcription import PIECE_MS, UtteranceFrames

PIECE_BYTES = PCM.size(PIECE_MS)


class FrameEar(Ear):
    """Understands how many bytes were said so far; notes all that it was given, and how each utterance ended."""

    name = "frames"
    streams = True

    def __init__(self) -> None:
        self.utterances: list[list[bytes]] = []
        self.closed: list[int] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def transcribe(self, clip: Clip) -> str | None:
        raise AssertionError

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        heard: list[bytes] = []
        self.utterances.append(heard)
        number = len(self.utterances)
        try:
            async for frame in frames:
                heard.append(frame.audio)
                yield Transcript(f"{len(b''.join(heard))}", is_final=False)
            await self.may_answer.wait()
            yield Transcript(f"{len(b''.join(heard))} bytes")
        finally:
            self.closed.append(number)


def agent_with(ear: Ear) -> Agent:
    """It says nothing."""
    agent = Agent()
    agent.ear = ear
    return agent


@asynccontextmanager
async def heard_by(ear: Ear, call: CallRecord | None = None) -> AsyncIterator[Alone]:
    """A call that this ear hears."""
    async with alone(call) as its:
        its.live.listening = Listening(its.call, agent_with(ear), its.live.feed, its.clock, its.observer)
        yield its


async def say(its: Alone, audio: bytes, piece_bytes: int = len(FRAME)) -> None:
    """The client sends audio, and the ear has its turn after each piece."""
    for at in range(0, len(audio), piece_bytes):
        its.live.receive_event(AppendAudio(audio[at : at + piece_bytes]))
        await turns_pass(6)


def part(from_ms: int, to_ms: int) -> bytes:
    """Of the talk, which has voices from its first second to its third and from 5.5 s on."""
    return talk(PCM)[PCM.size(from_ms) : PCM.size(to_ms)]


def pieces(audio: bytes) -> list[bytes]:
    """As an ear gets them."""
    return [audio[at : at + PIECE_BYTES] for at in range(0, len(audio), PIECE_BYTES)]


def transcripts(call: CallRecord) -> list[str | None]:
    """Of what the caller has said."""
    return [item["content"][0].get("transcript") for item in call.conversation.items() if item.get("role") == "user"]


async def understood(its: Alone) -> list[str | None]:
    await until(lambda: not its.call.clips.untranscribed)
    return transcripts(its.call)


async def test_an_utterance_is_heard_while_it_is_said() -> None:
    """With its padding, piece by piece; what has been understood so far is known; the whole of it is the transcript."""
    ear = FrameEar()
    async with heard_by(ear) as its:
        await say(its, part(0, 900))
        assert ear.utterances == []
        await say(its, part(900, 2000))
        [heard] = ear.utterances
        buffer = bytes(its.call.input_audio.audio)
        assert heard == pieces(buffer)[: len(buffer) // PIECE_BYTES]
        assert len(heard) > 5
        assert its.live.listening.partial == str(len(b"".join(heard)))
        await say(its, part(2000, 4000))
        assert its.live.listening.partial == ""
        turn = its.call.clips.latest
        assert turn is not None
        assert await understood(its) == [f"{len(turn.audio)} bytes"]
        assert ear.utterances == [pieces(turn.audio)]
        assert ear.closed == [1]
        assert [took for took in its.observer.stages if took[0] == "stt"] == [("stt", 0.0)]


async def test_what_is_not_understood_yet_is_no_text() -> None:
    """Nobody who reads it need ask whether there is any."""

    class Unsure(FrameEar):
        async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
            async for _ in frames:
                yield Transcript(None, is_final=False)
            yield Transcript(None)

    async with heard_by(Unsure()) as its:
        await say(its, part(0, 2000))
        assert its.live.listening.partial == ""
        await say(its, part(2000, 4000))
        assert await understood(its) == [None]


@pytest.mark.parametrize(("of_session", "heard_in"), [("de", "de"), (None, "fr")])
async def test_an_utterance_is_heard_in_the_sessions_language_or_else_the_agents(
    of_session: str | None, heard_in: str
) -> None:
    """Each of its pieces says so."""
    languages: set[str | None] = set()

    class Noting(FrameEar):
        async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
            async for frame in frames:
                languages.add(frame.language)
            yield Transcript("well")

    agent = agent_with(Noting())
    agent.language = "fr"
    async with alone() as its:
        its.live.listening = Listening(its.call, agent, its.live.feed, its.clock, its.observer)
        if of_session is not None:
            transcription = {"transcription": {"model": "ear", "language": of_session}}
            its.live.receive_event(UpdateSession({"audio": {"input": transcription}}))
        await say(its, part(0, 4000))
        assert await understood(its) == ["well"]
    assert languages == {heard_in}


async def test_the_next_utterance_is_one_of_its_own() -> None:
    """Also while the ear has not answered for the one before it."""
    ear = FrameEar()
    ear.may_answer.clear()
    async with heard_by(ear) as its:
        await say(its, part(0, 7000))
        assert len(ear.utterances) == 2
        assert ear.closed == []
        ear.may_answer.set()
        [first] = await understood(its)
        assert first == f"{len(b''.join(ear.utterances[0]))} bytes"


@pytest.mark.parametrize("piece_ms", [10, 70, 1000, 8000])
async def test_the_ear_gets_the_same_however_the_audio_comes(piece_ms: int) -> None:
    """Clips of the same length, counted from the beginning of the utterance; a whole talk in one piece as well."""
    found = []
    for size_ms in (20, piece_ms):
        ear = FrameEar()
        async with heard_by(ear) as its:
            await say(its, part(0, 8000) + bytes(PCM.size(2000)), PCM.size(size_ms))
            await understood(its)
            await turns_pass(2000)
        found.append(ear.utterances)
    assert len(found[0]) >= 2
    assert found[1][: len(found[0])] == found[0]


@pytest.mark.parametrize("cut_ms", [1300, 2170, 2900])
@pytest.mark.parametrize("detects", [True, False])
async def test_after_a_take_over_the_ear_hears_the_utterance_from_its_beginning(cut_ms: int, *, detects: bool) -> None:
    """What was saved and what comes are the same pieces as without the take-over, and the same is understood."""

    def call() -> CallRecord:
        return new_call() if detects else manual_call()

    async def end(its: Alone) -> list[str | None]:
        if not detects:
            its.live.receive_event(CommitAudio())
        return await understood(its)

    undisturbed, before, after = FrameEar(), FrameEar(), FrameEar()
    async with heard_by(undisturbed, call()) as its:
        await say(its, part(0, 4000))
        wanted = await end(its)
    async with heard_by(before, call()) as blue:
        await say(blue, part(0, cut_ms))
        blue.live.feed(HandoffPlanned())
        taken = moved(blue.call)
    assert before.closed == [1]
    async with heard_by(after, taken) as green:
        green.live.resume_work()
        await turns_pass(200)
        assert len(after.utterances) == 1
        assert len(b"".join(after.utterances[0])) > PCM.size(cut_ms - 1100 - PIECE_MS)
        await say(green, part(cut_ms, 4000))
        assert await end(green) == wanted
    assert after.utterances == undisturbed.utterances


@pytest.mark.parametrize(
    "end", ["cleared", "ended", "hung up", "another pod's", "erased", "moved", "detected no more", "another format"]
)
async def test_an_ear_is_closed_when_the_utterance_is_dropped(end: str) -> None:
    """And gets no more frames, whoever of it reads them."""
    ear = FrameEar()
    async with heard_by(ear, manual_call() if end == "detected no more" else None) as its:
        connection = its.attach()
        await say(its, part(0, 2000))
        assert len(ear.utterances) == 1
        assert its.live.listening.stream is not None
        turn = its.live.listening.stream._under_way
        assert turn is not None
        if end == "cleared":
            its.live.receive_event(ClearAudio())
        elif end == "ended":
            its.live.finish("admin")
        elif end == "hung up":
            its.live.detach(connection, hung_up=True, planned=False)
        elif end == "another pod's":
            its.live.writer.superseded()
        elif end == "erased":
            its.live.writer.erased()
        elif end == "moved":
            await its.live.stop_work()
        else:
            detects = {"turn_detection": {"type": "server_vad"}} if end == "detected no more" else {}
            audio = {"input": {"format": {"type": "audio/pcmu"}, **detects}}
            its.live.receive_event(UpdateSession({"type": "realtime", "audio": audio}))
        await until(lambda: ear.closed == [1])
        assert its.live.listening.partial == ""
        with pytest.raises(StopAsyncIteration):
            async with asyncio.timeout(PATIENCE_S):
                await anext(turn.frames)


async def test_what_a_client_commits_is_heard_as_it_comes() -> None:
    """Where no turns are detected, from the first byte; and again from the next."""
    ear = FrameEar()
    async with heard_by(ear, manual_call()) as its:
        for number in (1, 2):
            await say(its, FRAME * 12)
            assert ear.utterances[-1] == [(FRAME * 12)[:PIECE_BYTES], (FRAME * 12)[PIECE_BYTES : 2 * PIECE_BYTES]]
            its.live.receive_event(CommitAudio())
            assert await understood(its) == [f"{12 * len(FRAME)} bytes"] * number
        assert ear.utterances == [pieces(FRAME * 12)] * 2


async def test_audio_in_an_item_is_heard_beside_what_is_said() -> None:
    """It is no part of the utterance under way."""
    ear = FrameEar()
    async with heard_by(ear) as its:
        await say(its, part(0, 2000))
        content = [{"type": "input_audio", "transcript": None}]
        its.live.receive_event(CreateItem({"type": "message", "role": "user", "content": content}, part(1000, 2500)))
        await turns_pass(200)
        assert transcripts(its.call) == [f"{PCM.size(1500)} bytes"]
        assert ear.utterances[1] == pieces(part(1000, 2500))
        await say(its, part(2000, 4000))
        turn = its.call.clips.latest
        assert turn is not None
        assert await understood(its) == [f"{PCM.size(1500)} bytes", f"{len(turn.audio)} bytes"]


async def test_an_ear_that_is_too_slow_has_not_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed, and the reply waits no longer."""
    monkeypatch.setattr(listening, "TRANSCRIPTION_LIMIT_S", 0.01)
    ear = FrameEar()
    ear.may_answer.clear()
    async with heard_by(ear, manual_call()) as its:
        await say(its, FRAME * 12)
        its.live.receive_event(CommitAudio())
        assert await understood(its) == [None]
        await until(lambda: ear.closed == [1])
        assert its.live.listening._transcribing == {}


@pytest.mark.parametrize("is_running", [True, False])
async def test_a_transcript_that_is_not_wanted_closes_the_ear(*, is_running: bool) -> None:
    """Its item was deleted, be it before the transcription has begun to wait for the ear."""
    ear = FrameEar()
    ear.may_answer.clear()
    async with heard_by(ear, manual_call()) as its:
        await say(its, FRAME * 12)
        its.live.receive_event(CommitAudio())
        if is_running:
            await turns_pass()
        [item_id] = its.live.listening._transcribing
        its.live.listening.stop_transcribing(item_id)
        await until(lambda: ear.closed == [1])


async def test_an_ear_that_never_waits_keeps_nobody_from_their_turn() -> None:
    """However much has been said already: others have a turn after each of its frames."""
    turns, heard_at = 0, list[int]()

    class Hasty(FrameEar):
        async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
            heard_at.extend([turns async for _ in frames])
            yield Transcript("")

    async with heard_by(Hasty(), manual_call()) as its:
        its.live.receive_event(AppendAudio(bytes(50 * PIECE_BYTES)))
        its.live.receive_event(CommitAudio())
        while len(heard_at) < 50:
            turns += 1
            await asyncio.sleep(0)
        assert await understood(its) == [""]
    assert len(set(heard_at)) == 50


async def test_a_turn_that_is_not_to_be_understood_closes_the_ear() -> None:
    """Too many wait for that already; it is the next one that is heard then."""
    ear = FrameEar()
    ear.may_answer.clear()
    async with heard_by(ear, manual_call()) as its:
        for _ in range(MAX_UNTRANSCRIBED + 1):
            await say(its, FRAME * 12)
            its.live.receive_event(CommitAudio())
        await until(lambda: ear.closed == [MAX_UNTRANSCRIBED + 1])
        await say(its, FRAME * 10)
        assert ear.utterances[-1] == pieces(FRAME * 10)


def test_frames_are_of_their_utterance_alone() -> None:
    """Though the buffer has gone on to another before anybody said so."""
    buffer = InputAudioBuffer(bytearray(PIECE_BYTES), position=PIECE_BYTES)
    frames = UtteranceFrames(buffer, PCM)
    assert frames._is_due()
    buffer.position += 1
    assert not frames._is_due()


async def test_lost_audio_is_no_utterance() -> None:
    """The ear is not asked what was said in nothing."""
    ear = FrameEar()
    async with heard_by(ear) as its:
        its.live.listening.transcribe("item", b"")
        await until(lambda: not its.live.listening._transcribing)
        assert ear.utterances == []


async def test_an_ear_that_takes_utterances_whole_is_given_no_frames() -> None:
    """Nor is there anything to look at for each frame; nothing is understood of what is not over."""

    class Whole(Ear):
        name = "whole"

        async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
            raise AssertionError
            yield

    async with heard_by(Whole()) as its:
        await say(its, part(0, 4000))
        assert its.live.listening.stream is None
        assert its.live.listening.partial == ""
        assert await understood(its) == [None]
    mirrored = Listening(new_call(mirror=True), agent_with(FrameEar()), its.live.feed, its.clock, CountingObserver())
    assert mirrored.stream is None
