"""Times of the caller's clock and of the desk's, where clocks change: some times do not exist, some come twice."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from enum import Enum
from zoneinfo import ZoneInfo


class LocalTime(Enum):
    """How often a time of day comes on a day."""

    ONCE = 1
    SKIPPED = 0
    """The clocks go forward over it."""
    TWICE = 2
    """The clocks go back over it."""


def zone(name: str) -> tzinfo:
    """A zone by its IANA name. Raises `ValueError` if there is none of it on this machine."""
    if name.upper() == "UTC":
        return UTC  # Needs no database.
    try:
        return ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:
        raise ValueError(f"no time zone {name!r} is known here") from error


def local(day: str, minutes: int, where: tzinfo) -> datetime:
    """That day and minute of the clock there; of a time that comes twice the first."""
    midnight = datetime.fromisoformat(day)
    return midnight.replace(hour=minutes // 60, minute=minutes % 60, tzinfo=where)


def how_often(moment: datetime) -> LocalTime:
    """Whether a time of a clock exists; `moment` as `local` gives it."""
    there = moment.tzinfo
    if moment.astimezone(UTC).astimezone(there).replace(tzinfo=None) != moment.replace(tzinfo=None):
        return LocalTime.SKIPPED
    twice = moment.utcoffset() != moment.replace(fold=1).utcoffset()
    return LocalTime.TWICE if twice else LocalTime.ONCE


def elsewhere_at(moment: datetime, where: tzinfo) -> tuple[str, int]:
    """The day and the minute of the clock in another zone."""
    there = moment.astimezone(where)
    return there.date().isoformat(), there.hour * 60 + there.minute
