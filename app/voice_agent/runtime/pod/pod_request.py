"""What an operator asks of one pod, by way of the store: to be evacuated, or to move some of its calls.

It stands under the pod's name, is for the process that had it when it was written, and is replaced as a whole by the
next. The pod reads it behind each of its heartbeats, and says in the next one which request it took up last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

MAX_REQUEST_BYTES = 256 * 1024
"""Stops a value that is no request from being parsed every two seconds. One with 1 000 destinations has half of it."""
MAX_DEADLINE_S = 10**8
"""Three years: stops a number that no timer takes."""
MAX_CALLS = 10**6
"""More than any pod has: stops a number that cannot be meant."""
MAX_ID_CHARS = 64


@dataclass(frozen=True, slots=True)
class Destination:
    """Where some calls are to go on."""

    address: str
    """Of a pod, as its heartbeat tells it; "": wherever the load balancer sends them."""
    calls: int


@dataclass(frozen=True, slots=True)
class PodRequest:
    """One request."""

    request_id: str
    started_at_ms: int
    """Of the process that is asked, as its heartbeat tells it: a later one of that name is not asked for anything."""
    deadline_s: int
    """Counted from when the pod takes the request up. Moves that were not made by then are not made."""
    evacuates: bool
    """Whether the pod is to take nothing new, and to hand off all that it can."""
    closes_rest: bool = False
    """Of an evacuation: whether, at the deadline, calls are closed that cannot resume."""
    along: Sequence[str] = ()
    """Pods that are evacuated with it, and so take none of its calls."""
    destinations: Sequence[Destination] = ()
    """Where calls go, as many as are named. Of an evacuation the rest goes where the load balancer sends it."""

    @property
    def calls(self) -> int:
        """How many are to move, of a request that is no evacuation."""
        return sum(destination.calls for destination in self.destinations)

    def packed(self) -> bytes:
        """As it stands in the store."""
        return orjson.dumps(asdict(self))


def value_name(pod: str) -> str:
    """Under which name the store keeps a pod's request."""
    return f"pod:{pod}"


def request_of(value: bytes | None) -> PodRequest | None:
    """The request that stands in the store; None: there is none, or it is malformed. Newer ones may say more."""
    if value is None or len(value) > MAX_REQUEST_BYTES:
        return None
    try:
        return _read(orjson.loads(value))
    except (ValueError, TypeError, KeyError):
        return None


def _read(found: dict[str, Any]) -> PodRequest:
    request_id = found["request_id"]
    if not isinstance(request_id, str) or not 0 < len(request_id) <= MAX_ID_CHARS:
        raise ValueError("its id is no word")
    return PodRequest(
        request_id=request_id,
        started_at_ms=_number(found["started_at_ms"], 2**53),
        deadline_s=_number(found["deadline_s"], MAX_DEADLINE_S),
        evacuates=found["evacuates"] is True,
        closes_rest=found.get("closes_rest") is True,
        along=tuple(str(name) for name in found.get("along", ())),
        destinations=tuple(
            Destination(str(each["address"]), _number(each["calls"], MAX_CALLS))
            for each in found.get("destinations", ())
        ),
    )


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError("no number")
    return value
