"""What the writing of calls consists of, for rounds (`committer`) and for what a store missed (`write_back`)."""

from __future__ import annotations

from typing import Protocol

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.errors import StoreDeclined, StoreFull, StoreRefused
from voice_agent.runtime.ports import StoreState
from voice_agent.stores.base import WriteOutcome

TRY_S = 1.0
MAX_ROUND_BYTES = 4 * 1024 * 1024
"""What one round trip carries, so that no caller's bytes block the loop or the store, or make a round time out."""


class Writer(Protocol):
    """A call, as the committer sees it."""

    @property
    def writes_paused(self) -> bool:
        """Whether it may not be written just now."""

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]] | None:
        """What changed and the events that wait for it; None if the call is held back or has nothing."""

    def committed(self, events: list[OutboxEntry]) -> None:
        """The write is durable, or the store is away and it will be: let its events out."""

    def stored(self) -> None:
        """The store has the newest write that was taken."""

    def release_unsaved(self) -> None:
        """The store is given up for now: let events out unsaved, and write all of the call next time."""

    def requeue_whole(self, waiting: list[OutboxEntry]) -> None:
        """The store does not know the call, or a write may be lost: write all of it next time.

        `waiting` are events that waited for that write; they wait for the next one.
        """

    def superseded(self) -> None:
        """A newer epoch owns the call."""

    def erased(self) -> None:
        """The call was ended and erased by an administrator, on whichever pod."""

    @property
    def has_ended(self) -> bool:
        """Whether the call has ended, so that its write frees memory."""

    def ownership_check(self) -> CallWrite | None:
        """A write that changes nothing, whose outcome says whether the call is this pod's.

        None if it may not be written just now.
        """

    def unwritable(self) -> None:
        """`take_write` failed: give the call up, the others must go on."""


Batch = list[tuple[Writer, CallWrite, list[OutboxEntry]]]


NOT_OURS = (WriteOutcome.SUPERSEDED, WriteOutcome.ENDED)
"""Another pod's call by now, or a call that was erased."""


def portion(batch: Batch, most_bytes: int) -> Batch:
    """The first calls of a batch: as many as a round trip carries, one at least."""
    size_bytes = 0
    for at, (_, write, _) in enumerate(batch):
        size_bytes += write.size_bytes
        if at and size_bytes > most_bytes:
            return batch[:at]
    return batch


def try_s(size_bytes: int) -> float:
    """How long an answer may take: longer where one call alone has more than a round trip should carry."""
    return TRY_S * max(1.0, size_bytes / MAX_ROUND_BYTES)


def state_of(error: Exception) -> StoreState:
    """How a store is that failed so: one that answers is never called unreachable."""
    if isinstance(error, StoreFull):
        return StoreState.FULL
    return StoreState.REFUSED if isinstance(error, StoreRefused | StoreDeclined) else StoreState.UNREACHABLE
