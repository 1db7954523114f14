"""What the machine asks the runtime to do, beside making changes durable and events visible.

`machine.step` returns them in order. Those that the world can see (`CloseConnection`) are carried out after the commit
of the changes that came with them; the rest at once. An *answer* is not carried out: it is what the giver of an input
asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from voice_agent.call.changes import CallWrite, OutboxEntry
from voice_agent.call.completeness import NOTHING_MISSING, Missing
from voice_agent.call.usage import Sums


@dataclass(frozen=True, slots=True)
class DeliverEvents:
    """`AgentLedger.first` is there now, where nothing was: have the agent's run handle it.

    Each event is acknowledged by `inputs.EventDone` or `inputs.EventFailed`; the next one is then `first`, without an
    effect of its own.
    """


@dataclass(frozen=True, slots=True)
class InterruptAgent:
    """Raise `SpeechInterrupted` in the handler of this event, which is `AgentLedger.first`, wherever it waits.

    One that has not begun to handle it does not begin: give `inputs.EventDone` for it.
    """

    event_number: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Give `inputs.TimersDue` at this time, wall clock, in place of what was set before; None: nothing is due."""

    when_ms: int | None


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The caller begins to speak; without turn detection, the first audio of a turn came. None: it has no id yet."""

    item_id: str | None


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """What the caller was saying is over, and has become this item; None: none, for it was dropped."""

    item_id: str | None


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Find out what was said in an item; answer with `inputs.Transcribed`.

    `audio` is in the call's input format; empty if it is lost: then the text is not known.
    """

    item_id: str
    audio: bytes
    said_bytes: int = 0
    """See `HeardClip.said_bytes`."""


@dataclass(frozen=True, slots=True)
class StopTranscribing:
    """The item was deleted: its transcript is not wanted any more, and its audio may be freed."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ResetEndpointing:
    """Formats or turn detection changed, or the buffer was dropped: restart endpointing at the current position."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the caller's connection once everything emitted so far has been sent; the call ends, with an `outcome`."""

    code: int
    reason: str
    outcome: str = "agent"


@dataclass(frozen=True, slots=True)
class CountLimit:
    """A bound cut something short: to be counted under its name."""

    limit: str


# --- answers ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attached:
    """To `ConnectionMade`: what the connection begins with."""

    start: int
    """Number of the event after which it goes on."""
    gap: tuple[int, int] | None
    """First and last number of the events in between that are not held any more."""
    replay: list[OutboxEntry]
    """What its client has missed; what is not durable yet follows by itself."""
    rewound: bool
    """Audio that was not saved is forgotten: the client sends it again, and endpointing must restart."""
    missing: Missing = NOTHING_MISSING
    """What the store had lost of the call when it was claimed."""


@dataclass(slots=True)
class Write:
    """To `TakeWrite`: what is to be made durable, and the events that may be sent once it is.

    Not frozen, for that takes twice as long to make. Treat it as frozen.
    """

    write: CallWrite
    waiting: list[OutboxEntry]
    usage: Sums | None = None
    """What requests to providers have used by then, to be counted once it is durable; None: nothing new."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """To `SkipWrite`: the events that may be sent unsaved."""

    waiting: list[OutboxEntry]


Answer = Attached | Write | Skipped
Effect = (
    DeliverEvents
    | InterruptAgent
    | SetTimer
    | SpeechStarted
    | SpeechStopped
    | Transcribe
    | StopTranscribing
    | ResetEndpointing
    | CloseConnection
    | CountLimit
    | Answer
)
