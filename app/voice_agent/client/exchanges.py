"""What a conversation consists of, and who is told about it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from voice_agent.call.audio import PCM, AudioFormat, from_linear
from voice_agent.client.connection import RealtimeCall, ResumedConnection
from voice_agent.client.pacing import FRAME_MS
from voice_agent.client.wav import encoded, end_of_speech_ms


@dataclass(frozen=True, slots=True)
class SpokenTurn:
    """A turn from a recording: PCM16 24 000 Hz."""

    name: str
    pcm: bytes


@dataclass(frozen=True, slots=True)
class Typed:
    """A turn as text."""

    text: str


@dataclass(slots=True)
class Exchange:
    """One turn and its reply."""

    heard: str = ""
    answered: str = ""
    latency_s: float | None = None
    """End of speech (or the typed turn) to the first audio (or text) of the reply."""
    color: str = ""
    failed: str | None = None
    """Why the reply failed; then `answered` is at most an apology."""


@dataclass(slots=True)
class Report:
    """What became of a call; what its `Tally` counts is beside it."""

    exchanges: list[Exchange] = field(default_factory=list)
    reply_ms: int = 0
    """Audio that the agent sent."""
    worst_lag_ms: float = 0.0
    failures: list[str] = field(default_factory=list)
    """Why replies failed, those of no turn too."""


class CallListener(Protocol):
    """Told what happens while it happens."""

    def connected(self, call: RealtimeCall) -> None: ...
    def speaking(self, name: str, done_ms: int, total_ms: int) -> None: ...
    def heard(self, exchange: Exchange) -> None: ...
    def answered(self, exchange: Exchange) -> None: ...
    def waiting(self, code: int, reason: str) -> None:
        """The connection is lost, and one try to resume failed."""

    def resumed(self, resumed: ResumedConnection) -> None: ...
    def going_away(self, time_left_ms: int) -> None:
        """The server announced that it will close the connection for a planned reason."""

    def failed(self, message: str) -> None: ...


class AudioSink(Protocol):
    """Takes the agent's voice, PCM16 24 000 Hz."""

    def write(self, pcm: bytes) -> None: ...
    def interrupt(self) -> None:
        """The caller speaks into it."""


class Playing:
    """How far a recording has been spoken."""

    def __init__(self, turn: SpokenTurn, audio_format: AudioFormat) -> None:
        self.name = turn.name
        self.total_ms = PCM.ms(len(turn.pcm))
        self.voiced_ms = end_of_speech_ms(turn.pcm, FRAME_MS)
        self.done_ms = 0
        self.over = asyncio.Event()
        self._audio = encoded(turn.pcm, audio_format)
        self._silence = silent_frame(audio_format)
        self._format = audio_format

    def next_frame(self) -> bytes:
        """The next 20 ms in the call's format, filled up with silence at the end."""
        size = len(self._silence)
        at = self._format.size(self.done_ms)
        self.done_ms += FRAME_MS
        frame = self._audio[at : at + size]
        return frame + self._silence[len(frame) :]


def silent_frame(audio_format: AudioFormat) -> bytes:
    """20 ms of nothing."""
    return from_linear(bytes(audio_format.rate_hz * FRAME_MS // 1000 * 2), audio_format)
