"""A caller in a conversation: says its script for ever, and checks what it is answered.

An answer of this server is compared with just that audio which the events about the turn name; one of pipecat, which
tells nothing, with what the script says next after where its first chunk stands in it.
"""

from __future__ import annotations

import socket
from array import array
from base64 import b64decode
from dataclasses import dataclass, field
from time import perf_counter

from loadtest.peers.caller import FRAME_S, Caller, Tally
from loadtest.peers.dialects import dialect
from loadtest.peers.script import FRAMES, Script
from voice_agent.call.event_ids import PREFIX

EVENT_HEAD = f'{{"event_id":"{PREFIX}'.encode()
"""What each numbered event of this server begins with."""

CHUNK_S = 0.1
"""As long as a chunk of an answer is, and so as far from the one before it as it should come."""
ANSWER_GAP_S = 0.5
"""A chunk so long after the one before it begins another answer; of servers that do not say so."""


@dataclass
class TalkTally(Tally):
    """Of all callers of a run. `received` counts frames that were sent, each of which the server hears."""

    events: int = 0
    """Numbered ones."""
    replies: int = 0
    """Answers that came whole."""
    unanswered: int = 0
    """Utterances whose answer was not there when the next one began."""
    jitters_s: array[float] = field(default_factory=lambda: array("d"))
    """How far two chunks of an answer came closer together or farther apart than they should."""
    first_audio_s: array[float] = field(default_factory=lambda: array("d"))
    """From when the frame was due whose silence ended a turn to the first audio of its answer."""

    def forget_times(self) -> None:
        """Of the warm-up; counts of faults stay."""
        self.replies, self.jitters_s, self.first_audio_s = 0, array("d"), array("d")


class Talker(Caller):
    """Speaks this server's protocol. Positions are bytes of all audio that it sent."""

    def __init__(self, connection: socket.socket, rest: bytes, script: Script, tally: TalkTally, phase: int) -> None:
        """`phase`: the frame of the script that is said first."""
        super().__init__(connection, rest, dialect("realtime"), tally)
        self._script = script
        self._talk = tally
        self._phase = phase
        self._seen = -1
        """Number of the newest event; the greeting of a new call has 0."""
        self._turn = (0, 0)
        """From where to where the turn lasted that was heard last; the first is known before the second."""
        self._reply = (0, 0)
        """Where the answer's next chunk is from, and where it ends."""
        self._chunk_at_s = 0.0
        """When the answer's last chunk came; 0 before the first."""
        self._asked = False
        """Whether an utterance was begun of which the answer has not come."""

    def say(self) -> None:
        """Send the next frame."""
        at = (self.sent + self._phase) % FRAMES
        if at == 0:
            self._talk.unanswered += self._asked
            self._asked = True
        self.sent += 1
        self._talk.received += 1
        if not self.cut_off:
            self._send(self._unsent + self._script.frames[at])

    def _take_message(self, data: bytes, start: int, end: int) -> None:
        message = data[start:end]
        number, _, body = message.removeprefix(EVENT_HEAD).partition(b'","type":"')
        self._talk.wrong += int(number) != self._seen + 1
        self._seen = int(number)
        self._talk.events += 1
        kind, _, body = body.partition(b'"')
        if kind == b"response.output_audio.delta":
            self._hear_chunk(b64decode(body[body.rindex(b'"delta":"') + 9 : -2]))
        elif kind == b"input_audio_buffer.speech_started":
            self._turn = (self._position(body, b'"audio_start_ms":'), 0)
        elif kind == b"input_audio_buffer.speech_stopped":
            self._turn = (self._turn[0], self._position(body, b'"audio_end_ms":'))
        elif kind == b"response.created":
            self._reply, self._chunk_at_s = self._turn, 0.0
        elif kind == b"response.done":
            whole = self._reply[0] == self._reply[1]
            self._talk.wrong += not whole
            self._talk.replies += whole
            self._asked = False
        elif kind == b"error":
            self._talk.wrong += 1

    def _position(self, body: bytes, mark: bytes) -> int:
        return int(body.partition(mark)[2].partition(b",")[0]) * self._script.bytes_per_ms

    def _hear_chunk(self, audio: bytes) -> None:
        start, end = self._reply
        self._time_chunk()
        wanted = self._script.said(start + self._phase * self._frame_bytes, len(audio))
        self._talk.wrong += wanted != audio
        self._reply = (start + len(audio), end)

    def _time_chunk(self) -> None:
        now_s = perf_counter()
        if self._chunk_at_s:
            self._talk.jitters_s.append(abs(now_s - self._chunk_at_s - CHUNK_S))
        else:
            last_frame = self._reply[1] // self._frame_bytes - 1
            self._talk.first_audio_s.append(now_s - self.first_due_s - last_frame * FRAME_S)
        self._chunk_at_s = now_s

    @property
    def _frame_bytes(self) -> int:
        return len(self._script.audio) // FRAMES


class PipecatTalker(Talker):
    """Speaks pipecat's protobuf, in which nothing but audio comes."""

    def _take_message(self, data: bytes, start: int, end: int) -> None:
        audio = audio_of(data[start:end])
        if not audio:
            return
        now_s = perf_counter()
        script = self._script
        if now_s - self._chunk_at_s > ANSWER_GAP_S:
            self._talk.replies += self._chunk_at_s > 0
            found = (script.audio + script.audio[: len(audio)]).find(audio)
            self._talk.wrong += found < 0
            self._reply = (max(found, 0), 0)
            self._asked = False
        else:
            self._talk.jitters_s.append(abs(now_s - self._chunk_at_s - CHUNK_S))
            # The last chunk of an answer is filled up with silence.
            said = audio.rstrip(b"\0")
            self._talk.wrong += not script.said(self._reply[0], len(audio)).startswith(said)
        self._reply = (self._reply[0] + len(audio), 0)
        self._chunk_at_s = now_s


def audio_of(message: bytes) -> bytes:
    """The audio of pipecat's Frame, field 2: AudioRawFrame, field 3; b"" of any other frame."""
    if message[:1] != b"\x12":
        return b""
    _, at = _varint(message, 1)
    while at < len(message):
        tag, at = _varint(message, at)
        value, at = _varint(message, at)
        if tag & 7 == 2:
            if tag >> 3 == 3:
                return message[at : at + value]
            at += value
    return b""


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
