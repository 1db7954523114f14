"""Where a call is in its life; `lifecycle` moves it on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a call is in its life."""

    ATTACHED = "attached"
    PARKED = "parked"
    ENDED = "ended"


@dataclass(slots=True)
class Lifecycle:
    """Whether a client is there, and since when not; how the call ended."""

    status: Status = Status.ATTACHED
    outcome: str = ""
    transfer: str = ""
    """Whom the client is to call next; "" unless the call ended with that."""
    ended_at_ms: int = 0
    left_at_ms: int = 0
    """When the last connection was lost; 0 while attached."""
    handed_off: bool = False
    """The last connection was closed on purpose for another pod to go on."""
    resumable: bool = False
    """Some client of this call has shown that it can come back."""
