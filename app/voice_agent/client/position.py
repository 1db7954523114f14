"""Where one call stands, from one connection to the next: who it is, what was heard, what is still to be sent."""

from __future__ import annotations

from secrets import token_hex
from typing import Any

import orjson

from voice_agent.call.audio import AudioFormat
from voice_agent.client.outgoing import Outgoing
from voice_agent.client.refusals import CallFailed
from voice_agent.client.sequence import SequenceChecker, Tally


class CallPosition:
    """What a client has to know to go on with a call. Pure: it never sends.

    On each connection `greeted` first, then `go_on`; a connection that is not used after its greeting needs no `go_on`.
    """

    def __init__(self, audio_format: AudioFormat, *, name: str = "") -> None:
        """`name` begins the ids of client events; "" makes one that no other client has."""
        self.tally = Tally()
        self.info: dict[str, Any] = {}
        """``session.call`` of the latest greeting; empty if the server says nothing of it."""
        self.call_id: str | None = None
        self._name = name or f"client_{token_hex(4)}_"
        self._named = 0
        self._has_begun = False
        self._numbering = SequenceChecker(self.tally)
        self._outgoing = Outgoing(audio_format)

    # --- connections ------------------------------------------------------------

    @property
    def can_resume(self) -> bool:
        """Whether the server said how to come back."""
        return self.call_id is not None and self.info.get("resume_token") is not None

    @property
    def last_event_id(self) -> str:
        """The newest event heard, as a resume names it."""
        return self._numbering.last_event_id

    @property
    def resume_query(self) -> dict[str, str]:
        """What a resume names: the call, its token, and the newest event heard. Only if `can_resume`."""
        return {
            "call_id": str(self.call_id),
            "resume_token": self.info["resume_token"],
            "last_event_id": self.last_event_id,
        }

    def greeted(self, greeting: dict[str, Any]) -> None:
        """Take in a ``session.created``. Raises `CallFailed` if it is another call's."""
        info: dict[str, Any] = greeting["session"].get("call") or {}
        call_id = info.get("id") or self.call_id
        if self._has_begun and call_id != self.call_id:
            raise CallFailed(f"came back to another call ({call_id} instead of {self.call_id})")
        self.info, self.call_id = info, call_id
        if info:
            self._numbering.begin(greeting, info.get("gap"), first=not self._has_begun)

    def go_on(self) -> None:
        """Go back to what the server has, by the latest greeting; `next_message` then gives the rest again."""
        input_audio_ms = int(self.info.get("input_audio_ms", 0))
        if not self._has_begun:
            self._has_begun = True
            if not self._outgoing.appended_ms:  # Else the caller spoke before it was greeted: that stands behind 0.
                self._outgoing.begin_at(input_audio_ms)
            return
        rewound = self._outgoing.rewind(input_audio_ms, self.info.get("last_client_event_id"))
        self.tally.resumes += 1
        self.tally.resent_ms += rewound.again_ms
        self.tally.lost_ms += rewound.lost_ms

    # --- events -----------------------------------------------------------------

    def is_new(self, event: dict[str, Any]) -> bool:
        """Count a server event; False for one that came before."""
        return self._numbering.is_new(event)

    @property
    def appended_ms(self) -> int:
        """How much audio was appended in the whole call, as the server counts it."""
        return self._outgoing.appended_ms

    def add(self, event: dict[str, Any]) -> None:
        """A client event to send. It gets an id if it has none, so that a server takes it once.

        Raises `ValueError` for audio: as an event it could not be sent again from where the server lost it.
        """
        if event.get("type") == "input_audio_buffer.append":
            raise ValueError("audio is sent with append_audio()")
        self._named += 1
        event_id = event.get("event_id") or f"{self._name}{self._named}"
        self._outgoing.add(event_id, orjson.dumps({**event, "event_id": event_id}).decode())

    def append_audio(self, audio: bytes) -> None:
        """Audio to send, in the call's input format; kept for 30 s in case it has to be sent again."""
        self._outgoing.append(audio)

    def next_message(self) -> str | None:
        """The next text to send, in order; None when all is sent."""
        return self._outgoing.next_message()
