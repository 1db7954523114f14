"""Where one call stands, from one connection to the next: who it is, what was heard, what is still to be sent.

::

    greeted, go_on ──► the server replays what it had at its greeting ──► what it lacks is sent again ──► …
                       (is_new)                                           (next_message)

What is replayed may change how positions in the caller's audio count: another format, an append that was refused. So
nothing is sent before it has come.
"""

from __future__ import annotations

from typing import Any

from voice_agent.call.audio import AudioFormat
from voice_agent.client.outgoing import Outgoing
from voice_agent.client.refusals import CallFailed
from voice_agent.client.sequence import SequenceChecker, Tally, number
from voice_agent.client.session_events import call_info, told_format


class CallPosition:
    """What a client has to know to go on with a call. Pure: it never sends.

    On each connection `greeted` first, then `go_on`; a connection that is not used after its greeting needs no `go_on`.
    Whatever changes it may leave something to send: see `has_unsent`.
    """

    def __init__(self, audio_format: AudioFormat, *, name: str = "") -> None:
        """`audio_format`: what the caller says, where the server does not tell what it takes.

        `name` begins the ids of client events; "" makes one that no other client has.
        """
        self.tally = Tally()
        self.info: dict[str, Any] = {}
        """``session.call`` of the latest greeting; empty if the server says nothing of it."""
        self.call_id: str | None = None
        self._has_begun = False
        self._numbering = SequenceChecker(self.tally)
        self._acknowledged = 0
        """Number of the newest event that the server was told to be here."""
        self._outgoing = Outgoing(audio_format, name=name)
        self._greeted_format = audio_format
        self._replays_to: int | None = None
        """Number of the last event that has to come before anything is sent; None while messages go out."""

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
        info = call_info(greeting)
        call_id = info.get("id") or self.call_id
        if self._has_begun and call_id != self.call_id:
            raise CallFailed(f"came back to another call ({call_id} instead of {self.call_id})")
        self.info, self.call_id = info, call_id
        self._greeted_format = told_format(greeting) or self._outgoing.format
        if info:
            self._numbering.begin(greeting, info.get("gap"), first=not self._has_begun)

    def go_on(self) -> None:
        """Go back to what the server has, by the latest greeting.

        Once it has replayed what it had then, `next_message` gives the rest again.
        """
        newest = number({"event_id": self.info.get("newest_event_id")})
        self._outgoing.is_told = newest is not None
        if not self._has_begun:
            self._has_begun = True
            self._outgoing.format = self._greeted_format
            self._outgoing.begin_at(self._server_position)
            return
        self.tally.resumes += 1
        self._outgoing.pause()
        self._replays_to = newest or 0
        self._rewind_when_replayed()

    # --- events -----------------------------------------------------------------

    def is_new(self, event: dict[str, Any]) -> bool:
        """Count a server event; False for one that came before, and for what is no event of the call."""
        kind = event["type"]
        if kind == "call.received":
            self._outgoing.received(event["input_audio_bytes"], event["last_client_event_id"])
            return False
        if not self._numbering.is_new(event):
            return False
        if kind == "error" and isinstance(event.get("error"), dict):
            self._outgoing.refused(event["error"])
        elif kind == "session.updated":
            self._outgoing.session_updated(told_format(event) or self._outgoing.format)
        self._rewind_when_replayed()
        return True

    def acknowledge(self) -> None:
        """Tell a server that knows of it that all events so far are here for good: it need not keep them any more."""
        newest = self._numbering.last_n
        if self._outgoing.is_told and self._replays_to is None and newest > self._acknowledged:
            self._acknowledged = newest
            self._outgoing.tell({"type": "call.acknowledge", "event_id": self.last_event_id})

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
        self._outgoing.add(event)

    def append_audio(self, audio: bytes) -> None:
        """Audio to send, in the call's input format; kept until a crash of the server cannot take it away."""
        self._outgoing.append_audio(audio)

    @property
    def has_unsent(self) -> bool:
        """Whether `next_message` would give something."""
        return self._outgoing.has_unsent

    def next_message(self) -> str | None:
        """The next text to send, in order; None when all is sent."""
        return self._outgoing.next_message()

    # --- inside -----------------------------------------------------------------

    @property
    def _server_position(self) -> int:
        """How much audio the server has: to the byte, if it says so."""
        told = self.info.get("input_audio_bytes")
        return self._outgoing.format.size(int(self.info.get("input_audio_ms", 0))) if told is None else int(told)

    def _rewind_when_replayed(self) -> None:
        if self._replays_to is None or self._numbering.last_n < self._replays_to:
            return
        self._replays_to = None
        if self._greeted_format != self._outgoing.format:
            self._outgoing.session_updated(self._greeted_format)  # The event that would have told it is lost.
        rewound = self._outgoing.rewind(self._server_position, self.info.get("last_client_event_id"))
        self.tally.resent_ms += rewound.again_ms
        self.tally.lost_ms += rewound.lost_ms
