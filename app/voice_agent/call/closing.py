"""Every code that a connection is closed with, as data.

Codes below 4000 are those of RFC 6455 and the IANA registry, with the names that the `websockets` library gives them
(a test compares; imported from there they would bring sockets and chance into `call`). 44xx are ours. A client
library may decide by the number alone: `MAY_RESUME` says which closes leave the call resumable.
"""

from __future__ import annotations

import re
from enum import IntEnum

MAX_REASON_BYTES = 123
"""RFC 6455, 5.5: a control frame carries 125, two of which are the code."""


class CloseCode(IntEnum):
    """A code is a plain int on the wire, in metrics and in JSON."""

    NORMAL_CLOSURE = 1000
    """A hang-up: it ends the call."""
    GOING_AWAY = 1001
    NO_STATUS_RCVD = 1005
    """Never sent: stands for a close frame without a code."""
    ABNORMAL_CLOSURE = 1006
    """Never sent: stands for a connection that ended without a close frame."""
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    CALL_TIMED_OUT = 4408
    ATTACHED_ELSEWHERE = 4409
    CALL_ENDED = 4410


REASONS: dict[int, str] = {
    CloseCode.NORMAL_CLOSURE: "hang-up",
    CloseCode.MESSAGE_TOO_BIG: "message too large",
    CloseCode.SERVICE_RESTART: "service restart: reconnect now",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.CALL_TIMED_OUT: "idle too long or maximum call length reached",
    CloseCode.ATTACHED_ELSEWHERE: "the call is attached elsewhere",
    CloseCode.CALL_ENDED: "the call has ended",
}

MOVED_TO = "moved to "
_ADDRESS = re.compile(r"wss?://(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\]):[0-9]{1,5}")
"""``ws://`` or ``wss://``, a name or an address, a port, and nothing else; 80 characters, so that a close frame, whose
reason has 123 bytes, has room for it."""


def moved_to(address: str) -> str:
    """The reason of a close with 1012 that names the pod that is to go on; "" for what is no such address."""
    return MOVED_TO + address if _ADDRESS.fullmatch(address) else ""


def address_in(reason: str) -> str:
    """The address in such a reason; "" for any other reason."""
    address = reason.removeprefix(MOVED_TO)
    return address if reason.startswith(MOVED_TO) and _ADDRESS.fullmatch(address) else ""


MAY_RESUME: frozenset[int] = frozenset(
    {
        CloseCode.GOING_AWAY,
        CloseCode.ABNORMAL_CLOSURE,
        CloseCode.INTERNAL_ERROR,
        CloseCode.SERVICE_RESTART,
        CloseCode.TRY_AGAIN_LATER,
    }
)
