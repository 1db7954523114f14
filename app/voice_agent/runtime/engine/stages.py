"""How long a reply takes on its way to the caller, told once a response for each stage."""

from __future__ import annotations

from collections.abc import Sequence

from voice_agent.call.changes import OutboxEntry
from voice_agent.runtime.ports import Clock, Observer


class StageTimes:
    """One call's: from a response's opening to the agent's first words, to their first audio, to what is sent of it."""

    def __init__(self, clock: Clock, observer: Observer) -> None:
        self._clock = clock
        self._observer = observer
        self._asked_at_s: float | None = None
        """When the response was opened whose first audio is not visible yet."""
        self._thinks_since_s: float | None = None
        self._voices_since_s: float | None = None

    def asked(self, *, waited_s: float = 0.0) -> None:
        """The agent is asked for a response that was opened so long ago."""
        self._thinks_since_s = self._clock.monotonic_s()
        self._asked_at_s = self._thinks_since_s - waited_s

    def worded(self) -> None:
        """The agent has something to say."""
        if self._thinks_since_s is not None:
            self._voices_since_s = self._clock.monotonic_s()
            self._observer.turn_stage("think", self._voices_since_s - self._thinks_since_s)
            self._thinks_since_s = None

    def voiced(self) -> None:
        """There is audio of it."""
        if self._voices_since_s is not None:
            self._observer.turn_stage("tts", self._clock.monotonic_s() - self._voices_since_s)
            self._voices_since_s = None

    def visible(self, events: Sequence[OutboxEntry]) -> None:
        """The client may see these events from now on."""
        if self._asked_at_s is not None and any(entry.audio for entry in events):
            self._observer.turn_stage("first_audio", self._clock.monotonic_s() - self._asked_at_s)
            self._asked_at_s = None
