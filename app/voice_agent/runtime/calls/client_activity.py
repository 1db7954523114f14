"""When a call's client was heard from last."""

from __future__ import annotations

from voice_agent.runtime.ports import Clock


class ClientActivity:
    """One call's, over all its connections. Times are seconds of the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self.has_sent = False
        """Whether a message has come since `update`: cheaper than the time of every frame. Set by the attachment."""
        self.heard_at_s = clock.monotonic_s()
        """When the client was heard from last, as of `update`."""
        self._clock = clock
        self._attached_at_s = self.heard_at_s

    def attached(self) -> None:
        """The client has a new connection."""
        self.heard_at_s = self._attached_at_s = self._clock.monotonic_s()

    def update(self) -> float:
        """Take note of what came since the last time; returns how many seconds the client has been silent."""
        now_s = self._clock.monotonic_s()
        if self.has_sent:
            self.has_sent, self.heard_at_s = False, now_s
        return now_s - self.heard_at_s

    def has_sent_since(self, heard_at_s: float) -> bool:
        """Whether a message has come since `heard_at_s` had this value."""
        return self.has_sent or self.heard_at_s != heard_at_s

    @property
    def has_sent_nothing(self) -> bool:
        """Whether no message has come since the upgrade of the present connection."""
        return not self.has_sent_since(self._attached_at_s)
