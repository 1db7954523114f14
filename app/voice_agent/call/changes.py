"""What one tick of a call asks the store to make durable, and what the store gives back.

A write is one atomic, fenced unit: all of it lands, or none of it. Everything in
it is bytes or integers, so a store needs to know nothing about calls.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class OutboxEntry(NamedTuple):
    """One numbered server event as it is kept for replay."""

    n: int
    """Position in the outbox; the event's id is `event_ids.event_id` of it."""
    head: bytes
    """The event as JSON, without its id and without its audio."""
    audio: bytes
    """Raw audio of a ``response.output_audio.delta``; empty for every other event."""


class SpeechEntry(NamedTuple):
    """A piece of what the caller said, kept until its turn has been answered."""

    n: int
    """Position in the call's input stream, counting up from 1."""
    item_id: str
    """The conversation item that this audio belongs to or will belong to."""
    audio: bytes
    """Raw audio in the call's input format."""


@dataclass(slots=True)
class CallWrite:
    """Changes to one call.

    `fields` are hash fields of the record. `keep_events_from` and `keep_speech_from`
    name the oldest entry still wanted; 0 means nothing is trimmed. `whole` replaces
    whatever is held of the call: the first write, or a write-back after the store
    lost it; unlike any other write it may create the record.
    An otherwise empty write refreshes the TTL and asks whether the epoch still holds.

    `revision` numbers the writes of a call, across its owners; 0 is not checked. By it a store
    tells a write that comes late or twice (nothing to do) from one whose forerunners it has lost.
    `claim` is the name of the ownership that writes: two owners may come to the same epoch when
    a store forgot one of them, but never to the same claim. `doubted` is a claim by the same
    owner whose answer was lost; if it took effect, as the next after this one, it does not fence.
    """

    call_id: str
    epoch: int
    revision: int = 0
    claim: str = ""
    doubted: str = ""
    fields: dict[str, bytes] = field(default_factory=dict)
    items: dict[str, bytes] = field(default_factory=dict)
    dropped_items: list[str] = field(default_factory=list)
    events: list[OutboxEntry] = field(default_factory=list)
    keep_events_from: int = 0
    speech: list[SpeechEntry] = field(default_factory=list)
    keep_speech_from: int = 0
    whole: bool = False
    call_key_hash: str = ""
    """Of a whole write: the key that is bound to the call with it, if the store has forgotten that too."""
    ends: bool = False
    """The call has ended: `fields` replace the record, and outbox and speech are dropped, in the same write.

    Items are kept for the store's retention, the record (then a tombstone) until its TTL.
    """

    weight: int = field(default=-1, init=False, repr=False, compare=False)
    """`size_bytes`, once it has been asked for; -1 before."""

    @property
    def size_bytes(self) -> int:
        """What it weighs, roughly: fields, events, speech and items. Asked several times on a write's way."""
        if self.weight == -1:
            self.weight = self._weigh()
        return self.weight

    def _weigh(self) -> int:
        weight = sum(map(len, self.fields.values())) + sum(map(len, self.items.values()))
        for event in self.events:  # One, as a rule: a generator would cost more than what it adds up.
            weight += len(event.head) + len(event.audio)
        for piece in self.speech:
            weight += len(piece.audio)
        return weight


@dataclass(slots=True)
class Snapshot:
    """Everything the store holds of one call, as one consistent picture."""

    fields: dict[str, bytes]
    items: dict[str, bytes]
    outbox: list[OutboxEntry]
    speech: list[SpeechEntry]
