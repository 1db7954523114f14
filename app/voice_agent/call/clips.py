"""Audio of the caller's turns, kept until they are answered and understood."""

from __future__ import annotations

from dataclasses import dataclass, field

from voice_agent.call.changes import SpeechEntry
from voice_agent.call.speech_log import SpeechLog


@dataclass(slots=True)
class HeardClip:
    """A spoken turn of the caller."""

    item_id: str
    audio: bytes
    first_n: int
    """Number of its first speech entry."""
    said_bytes: int = 0
    """Of the audio, how much there is up to the pause that ended the turn; 0: not known."""
    is_answered: bool = field(default=False, compare=False)
    """Whether a reply to it has ended, on this pod."""


@dataclass(slots=True)
class PendingItemAudio:
    """Audio of an item that is about to be created, stored piece by piece; the client is told of it with the item."""

    item_id: str
    entries: list[SpeechEntry] = field(default_factory=list)

    @property
    def first_n(self) -> int:
        """Number of its first speech entry."""
        return self.entries[0].n


@dataclass(slots=True)
class KeptClips:
    """The turns whose audio is in memory; one clip may be several of these."""

    latest: HeardClip | None = None
    """What the caller said last; None if that was typed."""
    answered: HeardClip | None = None
    """What the reply under way answers: the caller may have gone on since."""
    untranscribed: dict[str, HeardClip] = field(default_factory=dict)
    """Spoken items whose words are not known yet; their audio is kept until they are."""
    pending: PendingItemAudio | None = None
    """Never restored: a take-over trims it, and the client creates the item again."""

    @property
    def pending_bytes(self) -> int:
        """Audio of the item that is about to be created."""
        return sum(len(entry.audio) for entry in self.pending.entries) if self.pending is not None else 0

    def to_store(self, speech: SpeechLog) -> list[HeardClip]:
        """Turns whose audio the store should hold: the one that is answered, the latest, those not transcribed yet.

        Under memory pressure the latest only until it has been answered: that may be asked for at any time.

        Of two with one id, which a client may give again, the newer comes later.
        """
        if not speech.keeps_turns:
            return []
        latest = self.latest
        if latest is not None and latest.is_answered and speech.under_memory_pressure:
            latest = None
        return [*(clip for clip in (self.answered, latest) if clip is not None), *self.untranscribed.values()]
