"""Times of day as they are said: "half past two" adds to an hour, "halb drei" takes from it, as the data tell."""

from __future__ import annotations

import re
from typing import NamedTuple

from voice_agent.agents.frontdesk.language import Language, WhenPattern

DAY_MINUTES = 24 * 60
MAX_TIMES = 4
"""Named in one sentence; more are not looked for."""


class NamedTimes(NamedTuple):
    """The times that a text names, in minutes since midnight."""

    time: int | None
    not_time: int | None = None
    """One that was named to say that it is not that: "not at three"."""


def named(text: str, language: Language, *, is_due: bool) -> NamedTimes:
    """The time in plain words. `is_due`: one was asked for, and a lone number is one."""
    not_time: int | None = None
    for _ in range(MAX_TIMES):
        match, time = _first(text, language, is_due=is_due)
        if match is None or not language.patterns.not_this.search(text[: match.start()]):
            return NamedTimes(time, not_time)
        not_time = time
        text = " ".join(f"{text[: match.start()]} | {text[match.end() :]}".split())
    return NamedTimes(None, not_time)


def _first(text: str, language: Language, *, is_due: bool) -> tuple[re.Match[str] | None, int | None]:
    patterns = language.patterns
    for pattern in patterns.times:
        match = pattern.said.search(text)
        if match is not None:
            return match, _minutes(match, pattern, _part(text, language))
    match = patterns.bare_time.search(text)
    if match is None and is_due:
        numbers = re.findall(r"(?<!\S)\d{1,2}(?!\S)", text)
        match = re.search(rf"(?<!\S)(?P<hour>{numbers[0]})(?!\S)", text) if len(numbers) == 1 else None
    return match, None if match is None else _of_hour(int(match["hour"]), 0, _part(text, language))


def _minutes(match: re.Match[str], pattern: WhenPattern, part: str) -> int | None:
    rule, said = pattern.rule, match.groupdict()
    if "at" in rule:
        return int(rule["at"])
    minute = int(said.get("minute") or 0)
    if minute > 59:
        return None
    return _of_hour(int(said["hour"]), int(rule.get("add", 0)) + (-minute if rule.get("back") else minute), part)


def _of_hour(hour: int, minutes: int, part: str) -> int | None:
    if hour > 23:
        return None
    if 1 <= hour <= 12:
        hour = _of_day(hour, part)
    return (hour * 60 + minutes) % DAY_MINUTES


def _of_day(hour: int, part: str) -> int:
    """An hour of the clock face as an hour of the day."""
    if part == "am":
        return hour % 12
    if part == "pm":
        return hour % 12 + 12
    return hour if hour >= 8 else hour + 12


def _part(text: str, language: Language) -> str:
    """The half of the day that is named; "" for none."""
    for word in text.split():
        for part in ("am", "pm"):
            if word in language.words.roles[part]:
                return part
    return ""
