"""The call's record in the store: what has changed since the last write, and what is known of what it holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from voice_agent.call.completeness import NOTHING_MISSING, Missing
from voice_agent.call.schema import SCHEMA


@dataclass(slots=True)
class StoredRecord:
    """How the record differs from the call in memory, and which write is the next."""

    schema: int = SCHEMA
    """See `schema`."""
    revision: int = 0
    """Number of the newest write that was taken, across owners."""
    dirty: set[str] = field(default_factory=set)
    """Groups of fields that changed: see `codec`."""
    write_whole: bool = False
    """The next write is of the whole call."""
    fields_to_empty: list[str] = field(default_factory=list)
    """What a reply that is over leaves in the record."""
    trimmed_to: tuple[int, int] = (0, 0)
    """Oldest outbox and speech entries that the last write kept."""
    unknown_fields: dict[str, bytes] = field(default_factory=dict)
    """Fields of a newer version; kept as they are."""
    missing: Missing = NOTHING_MISSING
    """What the store had lost of the call when this pod claimed it, until the client is known to have been told."""
    missing_told_at: int | None = None
    """The event after which the latest connection began, with whose greeting `missing` was told."""

    def mark(self, *groups: str) -> None:
        """Note which groups of fields changed."""
        self.dirty.update(groups)
