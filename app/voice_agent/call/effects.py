"""What the machine asks the runtime to do, beside making changes durable and events visible.

`machine.step` returns them in order. Those that the world can see (`CloseConnection`) are carried out after the commit
of the changes that came with them; the rest at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartResponse:
    """Ask the agent for the reply `response_id`, from where `Call.response` says it is."""

    response_id: str


@dataclass(frozen=True, slots=True)
class StopResponse:
    """The reply `response_id` is over; whatever the agent still makes of it is unwanted."""

    response_id: str


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Find out what was said in an item; answer with `inputs.Transcribed`.

    `audio` is in the call's input format; empty if it is lost: then the text is not known.
    """

    item_id: str
    audio: bytes


@dataclass(frozen=True, slots=True)
class StopTranscribing:
    """The item was deleted: its transcript is not wanted any more, and its audio may be freed."""

    item_id: str


@dataclass(frozen=True, slots=True)
class ResetEndpointing:
    """Formats or turn detection changed, or the buffer was dropped: restart endpointing at the current position."""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """Close the caller's connection once everything emitted so far has been sent."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class CountLimit:
    """A bound cut something short: to be counted under its name."""

    limit: str


Effect = StartResponse | StopResponse | Transcribe | StopTranscribing | ResetEndpointing | CloseConnection | CountLimit
