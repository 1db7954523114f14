"""Days, times and digits in words, as they are said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = {20: "twenty", 30: "thirty", 40: "forty", 50: "fifty"}
_FIRST = {1: "first", 2: "second", 3: "third", 5: "fifth", 8: "eighth", 9: "ninth", 12: "twelfth"}
_FIRST |= {20: "twentieth", 30: "thirtieth"}
MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)


def number(value: int) -> str:
    """0 to 59."""
    if value < len(ONES):
        return ONES[value]
    tens, ones = value // 10 * 10, value % 10
    return f"{TENS[tens]} {ONES[ones]}" if ones else TENS[tens]


def ordinal(value: int) -> str:
    """1 to 31."""
    if value in _FIRST:
        return _FIRST[value]
    if value > 20:
        return f"{TENS[value // 10 * 10]} {ordinal(value % 10)}"
    return ONES[value] + "th"


def day(value: date) -> str:
    """Tuesday the first of December."""
    return f"{value:%A} the {ordinal(value.day)} of {value:%B}"


def time(minutes: int) -> str:
    """Half past two in the afternoon; of minutes since midnight."""
    hour, minute = divmod(minutes, 60)
    if minutes == 12 * 60:
        return "noon"
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening"
    said = number((hour - 1) % 12 + 1)
    if minute == 30:
        return f"half past {said} {part}"
    if minute == 15:
        return f"a quarter past {said} {part}"
    if minute:
        said += f" {number(minute)}" if minute > 9 else f" oh {number(minute)}"
    return f"{said} {part}"


def digits(text: str) -> str:
    """Digit by digit."""
    return " ".join(ONES[int(digit)] for digit in text)


def one_of(choices: Sequence[str]) -> str:
    """A, B or C."""
    return " or ".join(filter(None, [", ".join(choices[:-1]), *choices[-1:]]))
