"""What the caller is saying, as far as it was sent to an upstream and has not become an item there."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_APPENDED_BYTES = 4 * 1024 * 1024
"""Of what is compared with a turn: more than the longest turn has."""
BEGINNING_BYTES = 960
"""Of a turn: what it is looked for with in what was appended."""
MAX_BEGINNINGS = 64
"""Places at which it may have begun: silence begins everywhere."""


@dataclass(slots=True)
class AppendedAudio:
    """Of one session."""

    item_id: str | None = None
    """Our id of the item that it will be; None: there is none, or it is not known."""
    audio: bytearray = field(default_factory=bytearray)

    def add(self, audio: bytes) -> None:
        """More was sent. What is too much is sent again when the turn is over."""
        if len(self.audio) + len(audio) <= MAX_APPENDED_BYTES:
            self.audio += audio

    def clear(self) -> bool:
        """It is an item, or is not wanted; whether there was any."""
        was_any = bool(self.audio)
        self.item_id = None
        self.audio.clear()
        return was_any

    def missing_of(self, turn: bytes) -> bytes | None:
        """What of a turn was not sent yet; None: it does not stand at the end of what was."""
        beginning = turn[:BEGINNING_BYTES]
        at = self.audio.find(beginning)
        for _ in range(MAX_BEGINNINGS):
            if at < 0:
                return None
            sent = self.audio[at : at + len(turn)]
            if turn.startswith(sent):
                return turn[len(sent) :]
            at = self.audio.find(beginning, at + 1)
        return None
