"""What the front desk knows: its opening hours, and where and when a talk takes place."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from voice_agent.agents.frontdesk import zones
from voice_agent.agents.frontdesk.language import Language, language_of


class Hours(NamedTuple):
    """Opening hours of a day, in minutes since midnight."""

    opens: int
    closes: int


OPENING_HOURS: dict[int, Hours] = {**dict.fromkeys(range(5), Hours(9 * 60, 17 * 60)), 5: Hours(10 * 60, 13 * 60)}
"""By `date.weekday()`, in the desk's time; a weekday that is not in here is closed."""

APPOINTMENT_MINUTES = 30
DAYS_AHEAD = 366
"""How far ahead appointments are made."""


def hours(day: date) -> Hours | None:
    """When the desk is open on a day; None: closed."""
    return OPENING_HOURS.get(day.weekday())


def next_open(day: date) -> date:
    """That day, or the first after it on which the desk is open."""
    while hours(day) is None:
        day += timedelta(days=1)
    return day


@dataclass(frozen=True, slots=True)
class DeskContext:
    """Where and when a talk takes place; the same gives the same answers."""

    language: Language
    now: datetime
    """With the caller's zone: days and times that a caller names are of it."""
    desk_zone: tzinfo
    person: str = ""
    """Whom a caller who wants a person is transferred to; "": nobody, a call back is offered."""

    @property
    def today(self) -> date:
        """The caller's."""
        return self.now.date()

    @property
    def callers_zone(self) -> tzinfo:
        """Of the clock that the caller sees."""
        assert self.now.tzinfo is not None
        return self.now.tzinfo

    @property
    def is_elsewhere(self) -> bool:
        """Whether the caller's clock shows another time than the desk's."""
        return self.now.utcoffset() != self.now.astimezone(self.desk_zone).utcoffset()


def context(
    now_ms: int, *, language: str = "", time_zone: str = "UTC", callers_zone: str = "", person: str = ""
) -> DeskContext:
    """Of a moment, in milliseconds since 1970. Raises `ValueError` for a zone that is not known."""
    desk_zone = zones.zone(time_zone)
    now = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zones.zone(callers_zone) if callers_zone else desk_zone)
    return DeskContext(language_of(language), now, desk_zone, person)
