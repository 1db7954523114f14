"""What is being heard while the caller speaks, for an agent that asked for it.

The call's ear and its rules tell of an utterance in the order of this drawing; what cannot come next in it is of an
utterance that is over, and is passed over. ::

    STOPPED ──started──> STARTED, PARTIAL, RESUMED <──resumed── PAUSED
       ^                     │ understood: PARTIAL  ──paused──>   │ understood: PAUSED again
       └──────stopped────────┴────────────────────────────────────┘
"""

from __future__ import annotations

from voice_agent.kit.hearing import Hearing, HearingKind
from voice_agent.runtime.engine.live_queue import LiveQueue, LiveReader, end_all

MAX_WAITING_HEARINGS = 64
"""That an agent has not read: several turns. What is older is of no use any more."""
MAX_WAITING_CHARS = 64 * 1024
"""Of their texts: stops an ear that tells each time all that was said in a long turn from filling memory."""

NOTHING_HEARD = Hearing(HearingKind.STOPPED)


class HearingNotices:
    """One call's, as long as this pod owns it."""

    def __init__(self) -> None:
        self.queues: list[LiveQueue[Hearing]] = []
        """Who reads them. While this is empty, pauses need not be told."""
        self._now = NOTHING_HEARD

    @property
    def is_paused(self) -> bool:
        """Whether a pause was told that lasts."""
        return self._now.kind is HearingKind.PAUSED

    def reader(self) -> LiveReader[Hearing]:
        """What tells of all that is heard from now on; in the middle of an utterance it begins with that."""
        queue = LiveQueue[Hearing](max_items=MAX_WAITING_HEARINGS, max_size=MAX_WAITING_CHARS)
        if self._now.kind is not HearingKind.STOPPED:
            queue.put(Hearing(HearingKind.STARTED, None, self._now.item_id), 0)
            if self._now.kind is not HearingKind.STARTED:
                _put(queue, self._now)
        return LiveReader(self.queues, queue)

    def end(self) -> None:
        """Nobody who reads now is told any more."""
        end_all(self.queues)

    # --- what happens -----------------------------------------------------------

    def started(self, item_id: str | None) -> None:
        """An utterance begins."""
        if self._now.kind is HearingKind.STOPPED:
            self._tell(Hearing(HearingKind.STARTED, None, item_id))

    def understood(self, text: str | None) -> None:
        """An ear that streams has understood so much of the utterance by now."""
        now = self._now
        if now.kind is not HearingKind.STOPPED and text != now.text:
            self._tell(Hearing(HearingKind.PAUSED if self.is_paused else HearingKind.PARTIAL, text, now.item_id))

    def paused(self, text: str | None) -> None:
        """The caller pauses, and so much was understood of what was said before."""
        if self._now.kind is not HearingKind.STOPPED and not self.is_paused:
            self._tell(Hearing(HearingKind.PAUSED, text, self._now.item_id))

    def resumed(self) -> None:
        """The caller speaks on."""
        if self.is_paused:
            self._tell(Hearing(HearingKind.RESUMED, self._now.text, self._now.item_id))

    def stopped(self, item_id: str | None) -> None:
        """The utterance is over; None: no turn came of it."""
        if self._now.kind is not HearingKind.STOPPED:
            self._tell(Hearing(HearingKind.STOPPED, self._now.text, item_id))

    def _tell(self, hearing: Hearing) -> None:
        self._now = hearing
        for queue in self.queues:
            _put(queue, hearing)


def _put(queue: LiveQueue[Hearing], hearing: Hearing) -> None:
    newest, size = queue.newest, len(hearing.text or "")
    if newest is not None and newest.kind is hearing.kind:  # It says all that the one did that was not read yet.
        queue.replace_newest(hearing, size)
    else:
        queue.put(hearing, size)
