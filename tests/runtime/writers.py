"""Calls as the committer sees them, without what makes them calls."""

from __future__ import annotations

from voice_agent.call.changes import CallWrite, OutboxEntry


class OneCall:
    """A call with a change whenever it is asked."""

    writes_paused = False
    has_ended = False

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]]:
        return CallWrite("call_x", 1), []

    def stored(self) -> None: ...

    def committed(self, events: list[OutboxEntry]) -> None:
        """Nothing waits for it."""

    release_unsaved = superseded = erased = unwritable = lambda self: None

    def requeue_whole(self, waiting: list[OutboxEntry]) -> None:
        """Nothing waits for it."""

    def ownership_check(self) -> None:
        return None


class NotedCall:
    """A call of some weight that notes what it is told; one event waits for each of its writes."""

    def __init__(self, name: str, size_bytes: int = 0) -> None:
        self.name = name
        self.size_bytes = size_bytes
        self.epoch = 1
        self.told: list[str] = []
        """What, and of how many events."""
        self.stored_times = 0
        """How often it was told that the store has its newest write."""
        self.writes_paused = False
        self.is_empty = False
        """It has nothing to be written."""
        self.is_broken = False
        self.is_whole = False
        """Its next write is of all of it."""
        self.has_ended = False

    def take_write(self) -> tuple[CallWrite, list[OutboxEntry]] | None:
        if self.is_broken:
            raise RuntimeError("a fault of ours")
        if self.writes_paused or self.is_empty:
            return None
        is_whole, self.is_whole = self.is_whole, False
        write = CallWrite(self.name, 1, fields={"said": bytes(self.size_bytes)}, whole=is_whole, ends=self.has_ended)
        return write, [OutboxEntry(1, b"", b"")]

    def ownership_check(self) -> CallWrite | None:
        return None if self.writes_paused else CallWrite(self.name, self.epoch)

    def stored(self) -> None:
        self.stored_times += 1

    def committed(self, events: list[OutboxEntry]) -> None:
        self.told.append(f"committed {len(events)}")

    def requeue_whole(self, waiting: list[OutboxEntry]) -> None:
        self.is_whole = True
        self.told.append(f"lost {len(waiting)}")

    def release_unsaved(self) -> None:
        self.is_whole = True
        self.told.append("released unsaved")

    def superseded(self) -> None:
        self.told.append("superseded")

    def erased(self) -> None:
        self.told.append("erased")

    def unwritable(self) -> None:
        self.told.append("unwritable")
