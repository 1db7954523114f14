"""How heartbeats, drain requests and weights look in Redis, and what becomes of those that look otherwise.

Blue and green are different versions, and other programs may write into a server: an entry that is malformed is passed
over by itself and named, and hides no other. Of a heartbeat, counters and keys may be missing alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
import structlog
from redis import exceptions

from voice_agent.errors import MAX_SCHEMA_CHARS
from voice_agent.stores.base import DrainRequest, PodCounters, PodHeartbeat, RouterWeights
from voice_agent.stores.redis_errors import words_of

MAX_HASH_BYTES = 1024 * 1024
"""Of a heartbeat or a drain request: stops one that is huge from being sent to every pod every two seconds. One with
the keys of ten thousand calls has a third of it."""
MAX_PODS = 1000
"""Of those whose heartbeat is the latest: stops a list of names that is no list of pods."""
MAX_TEXT_CHARS = 200
"""Of a name or a label: stops what would fill a terminal."""
MAX_NUMBER = 2**53
"""What every JSON reader takes for a whole number."""
MAX_DEADLINE_S = 10**8
"""Three years: stops a number that no timer takes."""

HEARTBEAT_FIELDS = tuple(PodHeartbeat.__dataclass_fields__)
DRAIN_FIELDS = ("drain",)
WEIGHTS_FIELDS = ("weights", "told_at_ms")
DRAIN_NUMBERS = (("deadline_s", MAX_DEADLINE_S), ("requested_at_ms", MAX_NUMBER))
CALL_ID = re.compile(rb"[A-Za-z0-9_-]{1,64}")
"""What a call key may be bound to; `lua/bind_call_key.lua` looks for the same."""

log = structlog.get_logger(__name__)

Part = TypeVar("Part")
Say = Callable[[str], None]
"""Called with what is malformed."""


class Malformed(ValueError):
    """Something is not what this version reads; says what is wrong, and quotes nothing of it."""


class PassedOver:
    """Names what is passed over, once for as long as it stands there."""

    def __init__(self) -> None:
        self._told: dict[str, Mapping[str, str]] = {}

    def tell(self, among: str, found: Mapping[str, str]) -> None:
        """`found`: all that are malformed now `among` some entries, and why."""
        before = self._told.get(among, {})
        for entry, why in found.items():
            if before.get(entry) != why:
                log.warning("passed over in the store", entry=entry, why=why)
        self._told[among] = found


def heartbeat_fields(heartbeat: PodHeartbeat) -> dict[Any, Any]:
    """The hash of a heartbeat."""
    fields: dict[Any, Any] = {name: str(getattr(heartbeat, name)) for name in HEARTBEAT_FIELDS}
    fields["reads_schemas"] = b"%d %d" % heartbeat.reads_schemas
    fields["counters"] = b"" if heartbeat.counters is None else orjson.dumps(heartbeat.counters)
    if heartbeat.applied_request is None:
        del fields["applied_request"]
    fields["keys"] = orjson.dumps(dict(heartbeat.keys)) if heartbeat.keys else b""
    return fields


def heartbeat_of(name: str, answer: Any, say: Say) -> PodHeartbeat | None:
    """The heartbeat of a pod from what `lua/read_fields.lua` answered; None if it has run out, or is malformed."""
    try:
        found = _fields(HEARTBEAT_FIELDS, answer)
        if not found:
            return None
        if _text(found, "name") != name:
            raise Malformed("it names another pod")
        return PodHeartbeat(
            name=name,
            color=_text(found, "color"),
            version=_text(found, "version"),
            status=_text(found, "status"),
            active_calls=_number(found, "active_calls"),
            parked_calls=_number(found, "parked_calls", 0),
            capacity=_number(found, "capacity"),
            started_at_ms=_number(found, "started_at_ms", 0),
            heartbeat_at_ms=_number(found, "heartbeat_at_ms"),
            reads_schemas=_schemas(found),
            counters=_part(found, "counters", _counters, None, say),
            keys=_part(found, "keys", _counts, {}, say),
            calls_not_resumable=_number(found, "calls_not_resumable", 0),
            oldest_call_at_ms=_number(found, "oldest_call_at_ms", 0),
            took_call_at_ms=_number(found, "took_call_at_ms", 0),
            forwarded_call_at_ms=_number(found, "forwarded_call_at_ms", 0),
            store=_text(found, "store", "ok"),
            calls_resumable_now=_number(found, "calls_resumable_now", 0),
            loop_lag_ms=_number(found, "loop_lag_ms", 0),
            address=_text(found, "address", ""),
            node=_text(found, "node", ""),
            applied_request=_text(found, "applied_request") if "applied_request" in found else None,
            moves_left=_number(found, "moves_left", 0),
        )
    except ValueError as error:
        say(_why(error))
        return None


def request_of(answer: Any, say: Say) -> DrainRequest | None:
    """The drain request of a color, from the same; None: there is none, or a malformed one. Newer ones may say more."""
    try:
        found = _fields(DRAIN_FIELDS, answer)
        if not found:
            return None
        request = _object(found["drain"])
        mode = request.get("mode")
        if not isinstance(mode, str) or not mode.isprintable() or len(mode) > MAX_TEXT_CHARS:
            raise Malformed("its mode is no word")
        deadline_s, at_ms = (_number_in(request, *bound) for bound in DRAIN_NUMBERS)
        return DrainRequest(mode, deadline_s, at_ms)
    except ValueError as error:
        say(_why(error))
        return None


def weights_of(answer: Any, say: Say) -> RouterWeights | None:
    """What the router is set to, from the same; None if they were never told, or are malformed."""
    try:
        found = _fields(WEIGHTS_FIELDS, answer)
        return RouterWeights(_counts(found["weights"]), _number(found, "told_at_ms")) if "weights" in found else None
    except ValueError as error:
        say(_why(error))
        return None


def _why(error: ValueError) -> str:
    """Others than ours quote what stands there."""
    if isinstance(error, Malformed):
        return str(error)
    return "no UTF-8" if isinstance(error, UnicodeDecodeError) else "no JSON"


def _fields(names: tuple[str, ...], answer: Any) -> dict[str, bytes]:
    """The fields that are there."""
    if isinstance(answer, exceptions.RedisError):
        raise Malformed(words_of(answer))
    if isinstance(answer, int):
        raise Malformed(f"{answer} bytes, more than {MAX_HASH_BYTES}")
    return {name: value for name, value in zip(names, answer, strict=True) if value is not None}


def _text(found: Mapping[str, bytes], name: str, without: str | None = None) -> str:
    text = found[name].decode() if name in found else without
    if text is None:
        raise Malformed(f"it has no {name}")
    if not text.isprintable() or len(text) > MAX_TEXT_CHARS:
        raise Malformed(f"its {name} is no label")
    return text


def _schemas(found: Mapping[str, bytes]) -> tuple[int, int]:
    numbers = found.get("reads_schemas", b"0 0").split(b" ")
    if len(numbers) != 2 or not all(number.isdigit() and len(number) <= MAX_SCHEMA_CHARS for number in numbers):
        raise Malformed("its reads_schemas are no numbers")
    return int(numbers[0]), int(numbers[1])


def _number(found: Mapping[str, bytes], name: str, without: int | None = None) -> int:
    digits = found.get(name)
    if digits is None and without is not None:
        return without
    if digits is None:
        raise Malformed(f"it has no {name}")
    if not digits.isdigit() or len(digits) > len(str(MAX_NUMBER)) or int(digits) > MAX_NUMBER:
        raise Malformed(f"its {name} is no number")
    return int(digits)


def _part(found: Mapping[str, bytes], name: str, read: Callable[[bytes], Part], without: Part, say: Say) -> Part:
    """A part of a heartbeat that it can do without."""
    try:
        return read(found[name]) if found.get(name) else without
    except ValueError as error:
        say(f"its {name}: {_why(error)}")
        return without


def _number_in(request: Mapping[str, Any], name: str, most: int) -> int:
    value = request.get(name)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= most:
        raise Malformed(f"its {name} is no number")
    return int(value)


def _object(packed: bytes) -> dict[str, Any]:
    found = orjson.loads(packed)
    if not isinstance(found, dict):
        raise Malformed("no JSON object")
    return found


def _counts(packed: bytes) -> dict[str, int]:
    return _checked_counts(_object(packed))


def _checked_counts(found: Any) -> dict[str, int]:
    if not isinstance(found, dict) or not all(
        type(count) is int and 0 <= count <= MAX_NUMBER for count in found.values()
    ):
        raise Malformed("they are no counts")
    return found


def _counters(packed: bytes) -> PodCounters:
    """Counts of a pod, without what a newer version counts beside."""
    found = {name: value for name, value in _object(packed).items() if name in PodCounters.__dataclass_fields__}
    turns, causes = (_checked_counts(found.pop(name, {})) for name in ("turns", "causes"))
    if not all(re.fullmatch(r"inf|\d{1,9}(\.\d{1,9})?", bound) for bound in turns):
        raise Malformed("its turns are no counts")
    return PodCounters(**_checked_counts(found), turns=turns, causes=causes)
