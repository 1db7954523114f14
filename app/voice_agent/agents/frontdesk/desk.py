"""What the front desk knows: its opening hours, and the orders of its demonstration."""

from __future__ import annotations

from datetime import date
from typing import NamedTuple

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Hours(NamedTuple):
    """Opening hours of a day, in minutes since midnight."""

    opens: int
    closes: int


OPENING_HOURS: dict[int, Hours] = {**dict.fromkeys(range(5), Hours(9 * 60, 17 * 60)), 5: Hours(10 * 60, 13 * 60)}
"""By `date.weekday()`; a weekday that is not in here is closed."""

APPOINTMENT_MINUTES = 30
DAYS_AHEAD = 366
"""How far ahead appointments are made."""

ORDERS = {
    "4711": "was shipped yesterday and will be with you tomorrow",
    "5029": "is packed and leaves us today",
    "1234": "has been delivered",
    "8080": "is waiting for a part, which we expect next week",
}
"""What to say of an order after "Order number … "."""


def hours(day: date) -> Hours | None:
    """When the desk is open on a day; None: closed."""
    return OPENING_HOURS.get(day.weekday())
