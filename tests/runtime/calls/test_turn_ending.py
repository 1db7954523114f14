"""How long a pause ends a turn under `semantic_vad`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.call.calls import FRAME, moved, new_call
from tests.runtime.alone import Alone, QuietConnection, Recogniser, alone, turns_pass
from tests.runtime.calls.test_listening import frames
from voice_agent.call.audio import PCM
from voice_agent.call.inputs import AppendAudio, HandoffPlanned
from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import (
    EAGERNESS_SILENCE_MS,
    FINISHED_SILENCE_MS,
    UNFINISHED_SILENCE_MS,
    turn_detection,
)
from voice_agent.kit.agent import Agent
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import AgentEar, Ear, Transcript
from voice_agent.runtime.calls import turn_ending
from voice_agent.runtime.calls.early_transcription import EARLY_PAUSE_MS
from voice_agent.runtime.calls.turn_ending import (
    AGAIN_PAUSE_MS,
    SEMANTIC_EARLY_PAUSE_MS,
    YOUNG_MS,
    TurnEnding,
)
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.semantic_endpointing import SemanticEndpointer

STOPS_SPEAKING_MS = 3000
"""In what the test says."""
TOLERANCE_MS = 60
"""Endpointing counts whole windows, and the ear is asked between two of them."""


class SayingEar(Ear):
    """Understands the same in all that it hears."""

    def __init__(self, text: str | None, *, streams: bool = False) -> None:
        self.text = text
        self.streams = streams
        self.asked = 0

    async def transcribe(self, clip: Clip) -> str | None:
        self.asked += 1
        return self.text

    async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
        async for _ in frames:
            yield Transcript(self.text, is_final=False)
        yield Transcript(self.text)


class HintingAgent(Agent):
    """Has an opinion of a turn."""

    def __init__(self, ear: Ear, hint: float | Exception | None = None) -> None:
        self.ear = ear
        self.hint = hint

    def is_finished(self, text: str, language: str) -> float | None:
        if isinstance(self.hint, Exception):
            raise self.hint
        return self.hint


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these calls say is no voice, and whether the model has been read yet is chance."""
    monkeypatch.setattr(turn_ending, "ready_model", lambda: None)


def semantic_call(eagerness: str = "auto", **transcription: Any) -> CallRecord:
    """A call under `semantic_vad`."""
    detection = {"type": "semantic_vad", "eagerness": eagerness, "create_response": False, "interrupt_response": True}
    return new_call(audio={"input": {"turn_detection": detection, "transcription": transcription or None}})


async def say(its: Alone, from_ms: int, to_ms: int) -> None:
    """The caller says this part, at a pace that leaves the ear its time."""
    for frame in frames(from_ms, to_ms):
        its.live.receive_event(AppendAudio(frame))
        await turns_pass(3)


def stopped_ms(connection: QuietConnection) -> list[int]:
    """Where in the call's audio turns ended, as the client is told."""
    return [
        event["audio_end_ms"] for event in connection.events if event["type"] == "input_audio_buffer.speech_stopped"
    ]


async def waited_ms(call: CallRecord, agent: Agent) -> int:
    """How long after their last word a caller's turn is over, who then keeps silent."""
    async with alone(call, agent) as its:
        connection = its.attach()
        await say(its, 0, 5400)
        await its.committer.flush(its.live.writer)
        [stopped] = stopped_ms(connection)
        return stopped - STOPS_SPEAKING_MS


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(
    ("text", "silence_ms"),
    [
        ("Tuesday at three.", FINISHED_SILENCE_MS["auto"]),
        ("on Tuesday at", UNFINISHED_SILENCE_MS["auto"]),
        ("four seven", EAGERNESS_SILENCE_MS["auto"]),
        (None, EAGERNESS_SILENCE_MS["auto"]),
    ],
)
async def test_a_finished_sentence_ends_a_turn_sooner(text: str | None, silence_ms: int, *, streams: bool) -> None:
    """And one that surely goes on later, whichever way the ear hears."""
    waited = await waited_ms(semantic_call(), HintingAgent(SayingEar(text, streams=streams)))
    assert abs(waited - silence_ms) <= TOLERANCE_MS


@pytest.mark.parametrize(
    ("hint", "silence_ms"),
    [
        (0.0, UNFINISHED_SILENCE_MS["auto"]),
        (0.5, EAGERNESS_SILENCE_MS["auto"]),
        (ValueError("broken"), FINISHED_SILENCE_MS["auto"]),
    ],
)
async def test_an_agent_knows_better_what_is_due(hint: float | Exception, silence_ms: int) -> None:
    """A number of which digits are missing goes on. One that fails at it costs the turn nothing."""
    waited = await waited_ms(semantic_call(), HintingAgent(SayingEar("It is Tuesday."), hint))
    assert abs(waited - silence_ms) <= TOLERANCE_MS


async def test_the_language_is_the_sessions() -> None:
    """What is a word in one is none in another."""
    agent = HintingAgent(SayingEar("Termin am Dienstag für"))
    assert abs(await waited_ms(semantic_call(), agent) - FINISHED_SILENCE_MS["auto"]) <= TOLERANCE_MS
    german = await waited_ms(semantic_call(model="any", language="de"), agent)
    assert abs(german - UNFINISHED_SILENCE_MS["auto"]) <= TOLERANCE_MS


async def test_an_agent_that_hears_itself_ends_turns_by_silence() -> None:
    """Nothing is known of what was said."""
    waited = await waited_ms(semantic_call("high"), HintingAgent(AgentEar()))
    assert abs(waited - EAGERNESS_SILENCE_MS["high"]) <= TOLERANCE_MS


async def test_no_more_audio_need_come_for_the_end() -> None:
    """The ear answers when the silence has been long enough already: the turn is over then."""
    call = semantic_call()
    async with alone(call, HintingAgent(SayingEar("Tuesday."))) as its:
        for frame in frames(0, STOPS_SPEAKING_MS + 500):
            its.live.receive_event(AppendAudio(frame))
        assert call.input_audio.speaking
        await turns_pass(5)
        assert not call.input_audio.speaking


async def test_a_caller_who_goes_on_is_judged_anew() -> None:
    """A pause that ended nothing changes nothing of the next one."""
    call, ear = semantic_call(), SayingEar("I come on the")
    async with alone(call, HintingAgent(ear)) as its:
        connection = its.attach()
        await say(its, 0, STOPS_SPEAKING_MS + 700)
        ear.text = "I come on Tuesday"
        await say(its, 5500, 9900)
        assert stopped_ms(connection) == []
        for _ in range(30):
            its.live.receive_event(AppendAudio(FRAME))
            await turns_pass(3)
        await its.committer.flush(its.live.writer)
        assert ear.asked == 2
        assert len(stopped_ms(connection)) == 1


async def test_a_caller_who_goes_on_is_waited_for_until_it_is_known_what_was_said() -> None:
    """The sentence that was over before the next words is no longer all of it."""

    class OnceEar(SayingEar):
        async def transcribe(self, clip: Clip) -> str | None:
            found = await super().transcribe(clip)
            if self.asked > 1:
                await asyncio.Event().wait()
            return found

    call, ear = semantic_call(), OnceEar("I come on Tuesday.")
    async with alone(call, HintingAgent(ear)) as its:
        await say(its, 0, STOPS_SPEAKING_MS + FINISHED_SILENCE_MS["auto"] - 40)
        assert ear.asked == 1
        await say(its, 5500, 9900)
        for _ in range(FINISHED_SILENCE_MS["auto"] // 20 + 5):
            its.live.receive_event(AppendAudio(FRAME))
            await turns_pass(3)
        assert (ear.asked, call.input_audio.speaking) == (2, True)


async def test_a_pause_that_lasts_over_a_take_over_is_asked_about_once() -> None:
    """What comes behind it is silence, too: the caller has not gone on."""
    async with alone(semantic_call(), Recogniser()) as blue:
        await say(blue, 0, STOPS_SPEAKING_MS + 400)
        blue.live.feed(HandoffPlanned())
        async with alone(moved(blue.call), Recogniser()) as green:
            assert isinstance(green.agent, Recogniser)
            green.live.resume_work()
            await turns_pass()
            await say(green, STOPS_SPEAKING_MS + 400, STOPS_SPEAKING_MS + 500)
            assert (len(green.agent.asked), green.agent.given_up) == (1, [])


async def test_a_pause_during_a_take_over_is_judged_by_the_next_pod() -> None:
    """It may be longer than one of which nothing is known: the turn is the same as without."""
    blue_call, agent = semantic_call(), HintingAgent(SayingEar("on Tuesday at"))
    async with alone(blue_call, agent) as blue:
        await say(blue, 0, STOPS_SPEAKING_MS + 1000)
        assert blue.call.input_audio.speaking
        blue.live.feed(HandoffPlanned())
        call = moved(blue.call)
    async with alone(call, agent) as green:
        green.live.resume_work()
        await turns_pass(5)
        assert call.input_audio.speaking
        connection = green.attach()
        await say(green, STOPS_SPEAKING_MS + 1000, 5400)
        await green.committer.flush(green.live.writer)
        [stopped] = stopped_ms(connection)
        assert abs(stopped - STOPS_SPEAKING_MS - UNFINISHED_SILENCE_MS["auto"]) <= TOLERANCE_MS


@pytest.mark.parametrize("eagerness", list(EAGERNESS_SILENCE_MS))
def test_a_finished_sentence_never_waits_longer(eagerness: str) -> None:
    """Whatever the eagerness; `server_vad` knows no sentences."""
    detection = turn_detection(semantic_call(eagerness).session.fields)
    assert detection is not None
    assert detection.finished_silence_ms < detection.silence_duration_ms < detection.unfinished_silence_ms
    plain = turn_detection(new_call().session.fields)
    assert plain is not None
    assert plain.finished_silence_ms == plain.silence_duration_ms == plain.unfinished_silence_ms


def test_the_ear_is_asked_before_the_shortest_pause_is_over() -> None:
    """Else it would be no use to know that the sentence is finished."""
    assert min(FINISHED_SILENCE_MS.values()) > turn_ending.SEMANTIC_EARLY_PAUSE_MS
    assert PCM.size(turn_ending.SEMANTIC_EARLY_PAUSE_MS) % len(FRAME) == 0


@pytest.mark.parametrize(
    ("is_semantic", "asked_ms", "said_ms", "pause_ms"),
    [
        (True, 0, 500, SEMANTIC_EARLY_PAUSE_MS),
        (False, 0, 500, EARLY_PAUSE_MS),
        (True, 3_000, 3_000 + YOUNG_MS - 20, AGAIN_PAUSE_MS),
        (False, 3_000, 3_000 + YOUNG_MS - 20, AGAIN_PAUSE_MS),
        (True, 3_000, 3_000 + YOUNG_MS, SEMANTIC_EARLY_PAUSE_MS),
    ],
)
def test_how_long_a_pause_must_be_for_the_ear_to_be_asked(
    *, is_semantic: bool, asked_ms: int, said_ms: int, pause_ms: int
) -> None:
    """Shorter where what was said decides, also of a short answer; longer where the ear was asked just before."""
    call = new_call()
    call.input_audio.audio += bytes(PCM.size(said_ms))
    given: dict[str, Any] = {"threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500}
    hears = SemanticEndpointer(PCM, None, **given) if is_semantic else Endpointer(PCM, **given)
    assert TurnEnding(call, Agent()).heeded_pause_ms(hears, PCM.size(asked_ms)) == pause_ms
