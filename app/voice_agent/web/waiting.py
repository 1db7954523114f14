"""Connections that wait for their peers: bounded in number and in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


class Waiting(Generic[Connection]):
    """Connections in the order in which they began to wait; the oldest goes first. Every method costs the same."""

    def __init__(self, limit: int, patience_s: float, now_s: Callable[[], float]) -> None:
        """At most `limit` of them, each for at most `patience_s`."""
        self.limit = limit
        self.patience_s = patience_s
        self._now_s = now_s
        self._since: dict[Connection, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._since

    def add(self, connection: Connection) -> Connection | None:
        """One more, unless it waits already; returns the one that has to go for it, which no longer waits here."""
        if connection in self._since:
            return None
        self._since[connection] = self._now_s()
        return self._pop() if len(self._since) > self.limit else None

    def discard(self, connection: Connection) -> None:
        """It waits no longer."""
        self._since.pop(connection, None)

    def pop_overdue(self) -> Connection | None:
        """One that has waited too long, and no longer waits here; None once there is none."""
        oldest_s = next(iter(self._since.values()), None)
        return None if oldest_s is None or self._now_s() - oldest_s < self.patience_s else self._pop()

    def _pop(self) -> Connection:
        oldest = next(iter(self._since))
        del self._since[oldest]
        return oldest
