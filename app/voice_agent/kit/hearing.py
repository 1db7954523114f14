"""What is being heard while the caller speaks, for an agent that cannot wait until the turn is over."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class HearingKind(StrEnum):
    """What has just happened. Of one utterance `STARTED` comes first and `STOPPED` last."""

    STARTED = "started"
    """The caller began to speak; without turn detection, the first audio of a turn came."""
    PARTIAL = "partial"
    """More has been understood, by an ear that streams."""
    PAUSED = "paused"
    """A pause that may end the turn, once it is known what was said before it. Comes again when more was understood."""
    RESUMED = "resumed"
    """They go on: what was started for the pause is to be thrown away."""
    STOPPED = "stopped"
    """The turn is over."""


@dataclass(frozen=True, slots=True)
class Hearing:
    """What `Call.hearing` gives."""

    kind: HearingKind
    text: str | None = None
    """What was said so far, as far as it is understood; None: that is not known."""
    item_id: str | None = None
    """Of the user's item that the turn becomes; None: not known yet, or, with `STOPPED`, that no turn came of it."""
