"""The official `openai` SDK, unmodified, with nothing changed but its base URL."""

from __future__ import annotations

import base64
import wave
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from tests.e2e.pods import SAMPLES, PodProcess, pods

EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
SPOKEN_TURN = [
    "session.created",
    "session.updated",
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
    "response.created",
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
]


@pytest.fixture
async def pod(redis_url: str) -> AsyncIterator[PodProcess]:
    """A pod on a real Redis."""
    async with pods(redis_url) as its:
        yield await its.start()


def client(pod: PodProcess) -> AsyncOpenAI:
    """The stock client."""
    return AsyncOpenAI(base_url=f"{pod.http}/v1", api_key="unused")


async def events_until(connection: Any, last: str) -> list[Any]:
    """Events as the SDK parsed them, each checked strictly against its own types."""
    events: list[Any] = []
    while not events or events[-1].type != last:
        raw = await connection.recv_bytes()
        EVENT.validate_json(raw)
        events.append(connection.parse_event(raw))
    return events


def sequence(events: list[Any]) -> list[str]:
    """Types in order, repeated deltas folded."""
    types = [event.type for event in events]
    return [kind for at, kind in enumerate(types) if not (at and kind == types[at - 1] and kind.endswith("delta"))]


async def test_a_spoken_turn(pod: PodProcess) -> None:
    """Speech in, transcript and speech out, every event known to the SDK and in OpenAI's order."""
    with wave.open(str(SAMPLES / "caller-books.wav")) as recording:
        speech = recording.readframes(recording.getnframes())
    async with client(pod) as stock, stock.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(
            session={"type": "realtime", "audio": {"input": {"transcription": {"model": "whisper-1"}}}}
        )
        for at in range(0, len(speech), 9600):
            await connection.input_audio_buffer.append(audio=base64.b64encode(speech[at : at + 9600]).decode())
        events = await events_until(connection, "response.done")
    folded = sequence(events)
    # A reply of several sentences alternates transcript and audio.
    first, last = folded.index("response.output_audio.delta"), folded.index("response.output_audio.done")
    assert folded[: first + 1] + folded[last:] == SPOKEN_TURN
    by_type = {event.type: event for event in events}
    heard = by_type["conversation.item.input_audio_transcription.completed"].transcript
    assert "appointment" in heard
    assert "tuesday" in heard
    said = by_type["response.output_audio_transcript.done"].transcript
    assert "Tuesday" in said
    audio = b"".join(base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta")
    assert len(audio) > 48_000
    assert [event.event_id for event in events[1:]] == [f"evt_{n}" for n in range(1, len(events))]


async def test_a_text_turn(pod: PodProcess) -> None:
    """A typed question is answered in text."""
    async with client(pod) as stock, stock.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session={"type": "realtime", "output_modalities": ["text"]})
        await connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "What are your opening hours?"}],
            }
        )
        await connection.response.create()
        events = await events_until(connection, "response.done")
    assert sequence(events) == [
        "session.created",
        "session.updated",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    answer = events[-1].response.output[0].content[0].text
    assert "nine" in answer.lower() or "9" in answer
