"""What a call's requests to providers have used, counted once it is durable.

A write carries the sums of the call. Once a store has taken it, what they have grown by since the one before is told to
the observer. So a pod that has lost a call counts nothing more of it, and a write that is made again counts once. What
a pod had written and not counted when it died is counted by nobody: the record is exact, metrics are never too high.
"""

from __future__ import annotations

from voice_agent.call.record import CallRecord
from voice_agent.call.usage import Sums, settled_since
from voice_agent.runtime.ports import Observer


class UsageCounter:
    """One call's, as long as this pod owns it."""

    def __init__(self, call: CallRecord, observer: Observer) -> None:
        self._counted: Sums = call.usage.stored if call.usage is not None else {}
        self._written: Sums | None = None
        self._observer = observer

    def taken(self, sums: Sums | None) -> None:
        """The write under way carries these; None: it does not change them."""
        self._written = sums

    def stored(self) -> None:
        """The store has the write under way."""
        if self._written is None:
            return
        before, self._counted, self._written = self._counted, self._written, None
        for pair, settled in settled_since(before, self._counted):
            provider, _, model = pair.partition("/")
            self._observer.usage_settled(provider, model, settled)
