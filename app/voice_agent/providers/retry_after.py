"""When a provider says that it may be asked again (RFC 9110, section 10.2.3, and what is sent in its place)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

MOST_S = 3600.0
"""A longer time is cut: nobody waits for it anyway."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds; None if nothing is said that makes sense. `headers`: of names in lower case.

    `Retry-After` holds seconds, of some also with a fraction, or a date, which counts from the `Date` of the same
    answer: that needs no clock that is right. OpenAI and Azure also send ``retry-after-ms``.
    """
    found = _number(headers.get("retry-after-ms", ""))
    if found is not None:
        return _bounded(found / 1000)
    said = headers.get("retry-after", "")
    found = _number(said)
    if found is not None:
        return _bounded(found)
    then, now = _date(said), _date(headers.get("date", ""))
    return None if then is None or now is None else _bounded(then - now)


def _date(said: str) -> float | None:
    try:
        found = parsedate_to_datetime(said)
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _number(said: str) -> float | None:
    try:
        found = float(said)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _bounded(seconds: float) -> float:
    return min(MOST_S, max(0.0, seconds))
