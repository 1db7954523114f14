"""Days as they are said: in which order of words, the language's data tell; what they mean, this does."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import NamedTuple

from voice_agent.agents.frontdesk.language import Language, WhenPattern

MAX_DAYS = 4
"""Named in one sentence; more are not looked for."""


class NamedDays(NamedTuple):
    """The days that a text names."""

    day: date | None
    from_day: date | None
    """The one before it, where there are two: of "from Tuesday to Friday"."""
    no_such_day: bool
    rest: str
    """The text with a "|" in place of each."""
    not_day: date | None = None
    """One that was named to say that it is not that: "not Tuesday"."""


class _Found(NamedTuple):
    start: int
    day: date | None
    """None: there is no such day."""
    is_source: bool


def named(text: str, language: Language, today: date) -> NamedDays:
    """The days in plain words; of two the second is meant and the first is where from, and "not Tuesday" is none."""
    found: list[_Found] = []
    not_day: date | None = None
    rest = text
    for _ in range(MAX_DAYS):
        match, pattern = _first(rest, language)
        if match is None or pattern is None:
            break
        before = rest[: match.start()]
        rest = before + "|" + " " * (match.end() - match.start() - 1) + rest[match.end() :]
        try:
            day: date | None = _meant(match, pattern.rule, today)
        except (ValueError, OverflowError):
            day = None
        if language.patterns.not_this.search(before):
            not_day = day
            continue
        found.append(_Found(match.start(), day, bool(language.patterns.from_this.search(before))))
    found.sort()
    rest = " ".join(rest.split())
    if not found:
        return NamedDays(None, None, False, rest, not_day)
    sources = [each for each in found if each.is_source]
    targets = [each for each in found if not each.is_source]
    if not targets:
        return NamedDays(None, sources[0].day, sources[0].day is None, rest, not_day)
    source = sources[0].day if sources else None
    first, last = targets[0], targets[-1]
    if source is None and first.day != last.day:
        source = first.day
    return NamedDays(last.day, source, last.day is None, rest, not_day)


def _first(text: str, language: Language) -> tuple[re.Match[str] | None, WhenPattern | None]:
    """By the order of the patterns, not of the text: "Saturday the fifth" is the fifth."""
    for pattern in language.patterns.days:
        match = pattern.said.search(text)
        if match is not None:
            return match, pattern
    return None, None


def _meant(match: re.Match[str], rule: dict[str, object] | object, today: date) -> date:
    said = match.groupdict()
    given = dict(rule) if isinstance(rule, dict) else {}
    if said.get("iso"):
        return date.fromisoformat(said["iso"])
    if said.get("count"):
        return today + timedelta(days=int(said["count"]) * int(str(given["each"])))
    if "ahead" in given:
        return today + timedelta(days=int(str(given["ahead"])))
    if said.get("month"):
        return _of_month(int(said["nth"]), int(said["month"]), int(said["year"]) if said.get("year") else None, today)
    if said.get("nth"):
        return _of_any_month(int(said["nth"]), today)
    weekday = int(said["weekday"])
    if given.get("next"):
        return today + timedelta(days=7 - today.weekday() + weekday)
    return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1 + int(str(given.get("later", 0))))


def _of_month(day: int, month: int, year: int | None, today: date) -> date:
    if year is not None:
        return date(year, month, day)
    this_year = date(today.year, month, day) if (month, day) != (2, 29) else _leap_day(today)
    return this_year if this_year >= today else this_year.replace(year=today.year + 1)


def _leap_day(today: date) -> date:
    year = today.year + -today.year % 4
    return date(year, 2, 29)


def _of_any_month(day: int, today: date) -> date:
    if not 1 <= day <= 31:
        raise ValueError(day)
    found = today
    while found.day != day:
        found += timedelta(days=1)
    return found
