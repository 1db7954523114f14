"""Every way a connection is closed, as data.

Codes below 4000 are those of RFC 6455 and the IANA registry; 44xx are ours. A client
library may decide by the number alone: `MAY_RESUME` says which closes leave the call
resumable.
"""

from __future__ import annotations

HANG_UP = 1000
PROTOCOL_ERROR = 1002
BAD_DATA = 1007
NOT_ALLOWED = 1008
TOO_BIG = 1009
INTERNAL_ERROR = 1011
SERVICE_RESTART = 1012
TRY_AGAIN_LATER = 1013
BROKEN = 1006
"""Never sent: stands for a connection that ended without a close frame."""
TIMED_OUT = 4408
ATTACHED_ELSEWHERE = 4409
CALL_ENDED = 4410

REASONS = {
    HANG_UP: "hang-up",
    TOO_BIG: "message too large",
    SERVICE_RESTART: "service restart: reconnect now",
    TRY_AGAIN_LATER: "try again later",
    TIMED_OUT: "idle too long or maximum call length reached",
    ATTACHED_ELSEWHERE: "the call is attached elsewhere",
    CALL_ENDED: "the call has ended",
}

MAY_RESUME = frozenset({SERVICE_RESTART, TRY_AGAIN_LATER, INTERNAL_ERROR, BROKEN, 1001})
