"""What the caller says, as entries for the store: numbered, waiting for a write, or held there.

How much is stored before it is needed depends on `checkpoint_ms` and on how full the store is (see `memory_pressure`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from voice_agent.call.changes import SpeechEntry


@dataclass(slots=True)
class SpeechLog:
    """The speech entries of a call. They are read by number: `InputAudioBuffer.first_n`, `HeardClip.first_n`."""

    checkpoint_ms: int = 200
    """How much of an utterance may be unsaved while it goes on; 0: it is saved once it is over."""
    under_memory_pressure: bool = False
    """The store is short of memory: see `memory_pressure`."""
    keeps_turns: bool = True
    """Whether the audio of turns that are not answered or understood yet is stored; not in a store nearly full."""
    made: int = 0
    """Number of the newest entry."""
    unsaved: list[SpeechEntry] = field(default_factory=list)
    unsaved_bytes: int = 0
    """Audio of these."""
    stored: deque[int] = field(default_factory=deque)
    """Numbers of the entries that the store holds after the last write."""

    def add(self, item_id: str, audio: bytes) -> SpeechEntry:
        """Have a piece of what the caller said stored; the record's `counts` change with it."""
        self.made += 1
        entry = SpeechEntry(self.made, item_id, audio)
        self.unsaved.append(entry)
        self.unsaved_bytes += len(audio)
        return entry

    def release(self, keeps: Callable[[SpeechEntry], bool]) -> None:
        """Of what waits only those entries are stored that are to be kept."""
        self.unsaved = [entry for entry in self.unsaved if keeps(entry)]
        self.unsaved_bytes = sum(len(entry.audio) for entry in self.unsaved)

    def drop_unsaved(self) -> None:
        """What waits is in a write, whose list it stays, or is not stored at all."""
        self.unsaved = []
        self.unsaved_bytes = 0
