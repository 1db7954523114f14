"""How long an agent has done nothing, though it is its turn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from voice_agent.runtime.ports import Clock


class IdleTime:
    """Runs while nothing is waited for that is not the agent's to do."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s = clock.monotonic_s()
        self._waits = 0

    @property
    def seconds(self) -> float:
        """So long the agent has done nothing."""
        return 0.0 if self._waits else self._clock.monotonic_s() - self._since_s

    def begin(self) -> None:
        """It is the agent's turn."""
        self._since_s = self._clock.monotonic_s()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """While this is open it is not the agent that keeps the caller waiting; afterwards it is its turn again."""
        self._waits += 1
        try:
            yield
        finally:
            self._waits -= 1
            self.begin()
