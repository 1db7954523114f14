"""What the store must hold of a call, counted in its record, so that a part that has gone is noticed.

A call is several keys in a store, and any of them may vanish alone: evicted for want of memory, deleted by an operator.
The owner knows exactly what each of its writes leaves there, and every write carries the counts. A store that holds
less than its record counts takes no change on top of that: it says that the call is unknown, and is told all of it
again by the owner, whose memory has it. If no owner is left, the pod that claims the call goes on with what there is,
tells the client (``session.call.gap``), and writes all of it, so that record and parts agree again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from voice_agent.call.changes import OutboxEntry, Snapshot

KEPT = "kept"
"""The record's field. A record without it is one of an early release, and is not checked."""


KEPT_FORMAT = b"%d %d %d %d %d"
"""Of a `Kept`, and how many bytes the items are, for a store that reads them; stores read the first three and that."""


class Kept(NamedTuple):
    """How much of a call the store holds after a write."""

    items: int
    events: int
    """Outbox entries."""
    speech: int
    """Speech entries."""
    utterance_bytes: int
    """Audio that is stored of the utterance under way."""

    @classmethod
    def unpack(cls, fields: Mapping[str, bytes]) -> Kept | None:
        """What a record counts; None if it does not."""
        packed = fields.get(KEPT)
        return cls(*map(int, packed.split()[:4])) if packed else None

    def missing(self, items: int, events: int, speech: int) -> Missing:
        """What is gone if there are only so many."""
        return Missing(max(0, self.items - items), max(0, self.events - events), max(0, self.speech - speech))


class Missing(NamedTuple):
    """How many entries of each part the store has lost."""

    items: int = 0
    events: int = 0
    speech: int = 0


NOTHING_MISSING = Missing()


def missing(snapshot: Snapshot) -> Missing:
    """What the record of a snapshot counts and the snapshot does not hold."""
    kept = Kept.unpack(snapshot.fields)
    if kept is None:
        return NOTHING_MISSING
    return kept.missing(len(snapshot.items), len(snapshot.outbox), len(snapshot.speech))


def replayable(entries: Sequence[OutboxEntry], newest: int) -> list[OutboxEntry]:
    """The entries that a client may be sent: those up to the newest event without a hole.

    What stands in front of a hole cannot be replayed, for ``session.call.gap`` names one range.
    """
    run: list[OutboxEntry] = []
    for entry in reversed(entries):
        if entry.n != newest - len(run):
            break
        run.append(entry)
    run.reverse()
    return run
