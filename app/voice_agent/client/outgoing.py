"""What a caller sent, in order, so that it can be sent again from where the server lost it.

Audio and client events share one line, as positions in the caller's audio::

    audio   ─────────────────────────────────────────────►
            ^oldest        ^cursor: all before is sent     ^end
    events          a          b   c                         each stands where it was sent

A resume moves the cursor back to what the server has (`rewind`); `next_message` then
gives the line again, a commit never before the audio that it commits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pybase64

from voice_agent.call.audio import AudioFormat

KEPT_AUDIO_MS = 30_000
KEPT_EVENTS = 256
"""As many client events as a server remembers to tell which of them came twice."""
CATCH_UP_MS = 100


@dataclass(frozen=True, slots=True)
class Rewound:
    """What a resume made necessary."""

    again_ms: int
    """Audio that will be sent once more."""
    lost_ms: int
    """Audio that the server does not have and that is no longer kept."""


@dataclass(frozen=True, slots=True)
class _SentEvent:
    event_id: str
    text: str
    at_bytes: int


class Outgoing:
    """The caller's side of a call. Pure: it never sends, it only knows what comes next."""

    def __init__(self, audio_format: AudioFormat, *, kept_ms: int = KEPT_AUDIO_MS) -> None:
        self._format = audio_format
        self._kept_bytes = audio_format.size(kept_ms)
        self._audio = bytearray()
        self._end_bytes = 0
        self._newest_at_bytes = 0
        self._cursor_bytes = 0
        self._events: deque[_SentEvent] = deque(maxlen=KEPT_EVENTS)
        self._unsent: deque[_SentEvent] = deque(maxlen=KEPT_EVENTS)

    @property
    def appended_ms(self) -> int:
        """Position of the end of the caller's audio, as the server counts it."""
        return self._format.ms(self._end_bytes)

    def begin_at(self, input_audio_ms: int) -> None:
        """Continue a call whose server already has so much audio from somebody else."""
        self._end_bytes = self._newest_at_bytes = self._cursor_bytes = self._format.size(input_audio_ms)

    def append(self, audio: bytes) -> None:
        """More of the caller's audio; what is older than 30 s is forgotten."""
        self._newest_at_bytes = self._end_bytes
        self._audio += audio
        self._end_bytes += len(audio)
        surplus = len(self._audio) - self._kept_bytes
        if surplus > 0:
            del self._audio[:surplus]

    def add(self, event_id: str, text: str) -> None:
        """A client event, as the text to send."""
        event = _SentEvent(event_id, text, self._end_bytes)
        self._events.append(event)
        self._unsent.append(event)

    def rewind(self, input_audio_ms: int, last_event_id: str | None) -> Rewound:
        """Go back to what the server has: so much audio, and the events up to `last_event_id`.

        An id that is None or unknown rewinds to the oldest event kept; a server ignores
        those it remembers.
        """
        ids = [event.event_id for event in self._events]
        heard = ids.index(last_event_id) + 1 if last_event_id in ids else 0
        self._unsent = deque(list(self._events)[heard:], maxlen=KEPT_EVENTS)
        has_bytes = min(self._format.size(input_audio_ms), self._end_bytes)
        oldest_bytes = self._end_bytes - len(self._audio)
        self._cursor_bytes = max(has_bytes, oldest_bytes)
        return Rewound(
            again_ms=self._format.ms(self._end_bytes - self._cursor_bytes),
            lost_ms=self._format.ms(self._cursor_bytes - has_bytes),
        )

    def next_message(self) -> str | None:
        """The next text to send, or None when all is sent.

        The newest piece of audio is sent as it was appended, older ones in pieces of 100 ms.
        """
        oldest_bytes = self._end_bytes - len(self._audio)
        self._cursor_bytes = max(self._cursor_bytes, oldest_bytes)
        if self._unsent and self._unsent[0].at_bytes <= self._cursor_bytes:
            return self._unsent.popleft().text
        if self._cursor_bytes == self._end_bytes:
            return None
        start = self._cursor_bytes
        if start == self._newest_at_bytes:
            stop = self._end_bytes
        else:
            stop = min(start + self._format.size(CATCH_UP_MS), self._end_bytes)
            if start < self._newest_at_bytes:
                stop = min(stop, self._newest_at_bytes)
        if self._unsent:
            stop = min(stop, self._unsent[0].at_bytes)
        self._cursor_bytes = stop
        return _append(self._audio[start - oldest_bytes : stop - oldest_bytes])


def _append(audio: bytes | bytearray) -> str:
    return '{"type":"input_audio_buffer.append","audio":"' + pybase64.b64encode_as_string(audio) + '"}'
