"""From what a caller said or typed to what it means. Tolerant of writing, but never guessing.

Rules where English leaves room:

- "Tuesday", "this Tuesday", "on Tuesday": the first one after today.
- "next Tuesday", "Tuesday next week": the one in the week after this; weeks begin on Monday.
- "the fifth": the next fifth that is not past. "the fifth of May": this year, or else the next.
- A bare hour: 9 to 12 before noon, 1 to 7 after it, since those are the hours of business; 8 is in the morning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from voice_agent.agents.frontdesk.desk import WEEKDAYS
from voice_agent.agents.frontdesk.saying import MONTHS, ONES, TENS, ordinal

_NUMBERS = {word: value for value, word in enumerate(ONES)} | {word: value for value, word in TENS.items()} | {"oh": 0}
_ORDINALS = {ordinal(value): value for value in range(1, 32) if " " not in ordinal(value)}
_MONTH = "|".join(f"{month}|{month[:3]}" for month in MONTHS)
_DAYS = "|".join(WEEKDAYS)

INTENTS = {
    "bye": r"\b(good ?bye|bye|that('?s| is) all|nothing else|hang up)\b",
    "repeat": r"\b(repeat|say (that|it) again|pardon|what did you say)\b",
    "mine": r"\b(when|what time) is my appointment\b|\b(do|have) i (have|got) an appointment\b|\bmy appointments\b",
    "cancel": r"\bcancel\b",
    "move": r"\b(move|reschedule|shift|postpone|change (my|the) appointment)\b",
    "order": r"\border\b|\bparcel\b",
    "hours": r"\b(opening hours|are you (open|closed)|do you (open|close)|how (late|long) are you)\b",
    "book": r"\b(book|make (me )?an(other)? appointment|schedule|an(other)? (appointment|slot))\b",
    "correct": r"\b(make (it|that)|i meant?|change (it|that)|actually|sorry|rather|instead|no|not|(how|what) about)\b",
    "other": r"\b(another|different) (day|time)\b",
    "wrong": r"\b(no|nope|not|wrong)\b",
    "right": r"\b(yes|yeah|yep|correct|okay|ok|sure|right|fine|that works|please do|go ahead|sounds good)\b",
    "thanks": r"\b(thank you|thanks)\b",
    "hello": r"\b(hello|hi|hey|greetings)\b",
}
"""What a text asks for, by pattern; a text may ask for several things."""


@dataclass(frozen=True, slots=True)
class Understood:
    """What was understood of a text; all of it empty when nothing was."""

    intents: frozenset[str] = frozenset()
    day: date | None = None
    no_such_day: bool = False
    """A day was named that the calendar does not have, such as 31 April."""
    time: int | None = None
    """Minutes since midnight."""
    digits: str | None = None
    """Four digits or more, said one by one or written together."""

    @property
    def anything(self) -> bool:
        """Whether anything was understood."""
        return bool(self.intents or self.day or self.no_such_day or self.time is not None or self.digits)


def understand(text: str, today: date) -> Understood:
    """What `text` means on the day `today`."""
    plain = _plain(text)
    greeted = bool(re.search(r"\bgood (morning|afternoon|evening|day)\b", plain))
    plain = re.sub(r"\bgood (morning|afternoon|evening|day)\b", " ", plain)
    intents = {name for name, pattern in INTENTS.items() if re.search(pattern, plain)}
    if greeted:
        intents.add("hello")
    if "that's all right" in plain:
        intents.discard("bye")
    numeric = _numeric(plain)
    digits = re.search(r"(?<![\d:])(\d{4,}|\d( \d){3,})(?![\d:-])", numeric)
    if digits:
        return Understood(frozenset(intents), digits=digits[0].replace(" ", ""))
    day, no_such_day, rest = _day(numeric, today)
    return Understood(frozenset(intents), day, no_such_day, _time(rest))


def _plain(text: str) -> str:
    """Lower case, words and numbers parted by one blank; "a.m." and "p.m." as one word."""
    text = text.lower().replace("\u2019", "'")
    text = re.sub(r"\b([ap])\s?\.?\s?m\b\.?", r"\1m", text)
    text = re.sub(r"(\d)([ap]m\b)", r"\1 \2", text)
    text = re.sub(r"\bo' ?clock\b", "oclock", text)
    text = re.sub(r"(?<=\d)[.h](?=\d\d\b)", ":", text)
    return " ".join(re.sub(r"[^a-z0-9:'-]+", " ", text, flags=re.ASCII).split())


def _numeric(plain: str) -> str:
    """Number words as figures: "twenty fifth" is "25th", "ten thirty five" is "10 35", "four seven" is "4 7"."""
    out: list[str] = []
    tens = 0
    for word in re.sub(r"(?<=[a-z])-(?=[a-z])", " ", plain).split():
        value = _NUMBERS.get(word)
        nth = _ORDINALS.get(word)
        if tens and value is not None and 0 < value < 10:
            out[-1] = str(tens + value)
        elif tens and nth is not None and nth < 10:
            out[-1] = f"{tens + nth}th"
        elif nth is not None:
            out.append(f"{nth}th")
        else:
            out.append(word if value is None else str(value))
        tens = value if value in TENS else 0
    return " ".join(out)


def _day(text: str, today: date) -> tuple[date | None, bool, str]:
    """The day named in `text`, whether it does not exist, and `text` without it."""
    for pattern, resolve in _DAY_PATTERNS:
        match = re.search(pattern, text)
        if match:
            rest = f"{text[: match.start()]} | {text[match.end() :]}"
            rest = re.sub(rf"\b({_DAYS})\b", " | ", rest)
            try:
                found = resolve(match, today)
            except (ValueError, OverflowError):
                return None, True, rest
            return found, False, rest
    return None, False, text


def _iso(match: re.Match[str], today: date) -> date:
    return date.fromisoformat(match[0])


def _of_month(match: re.Match[str], today: date) -> date:
    day = int(match["day"])
    month = next(index for index, name in enumerate(MONTHS, 1) if name.startswith(match["month"][:3]))
    this_year = date(today.year, month, day) if (month, day) != (2, 29) else _leap_day(today)
    return this_year if this_year >= today else this_year.replace(year=today.year + 1)


def _leap_day(today: date) -> date:
    year = today.year + -today.year % 4
    return date(year, 2, 29)


def _of_any_month(match: re.Match[str], today: date) -> date:
    day = int(match["day"])
    if not 1 <= day <= 31:
        raise ValueError(day)
    found = today
    while found.day != day:
        found += timedelta(days=1)
    return found


def _weekday(match: re.Match[str], today: date) -> date:
    weekday = WEEKDAYS.index(match["weekday"])
    if match["next"] or match["next_week"]:
        return today + timedelta(days=7 - today.weekday() + weekday)
    return today + timedelta(days=(weekday - today.weekday() - 1) % 7 + 1)


def _relative(match: re.Match[str], today: date) -> date:
    return today + timedelta(days={"today": 0, "tonight": 0, "tomorrow": 1}.get(match[0], 2))


_NTH = r"(?P<day>\d{1,2})(?:st|nd|rd|th)"
_DAY_PATTERNS = (
    (r"\b\d{4}-\d\d-\d\d\b", _iso),
    (rf"\b(?:the )?(?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?: of)? (?P<month>{_MONTH})\b", _of_month),
    (rf"\b(?P<month>{_MONTH})(?: the)? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?![:\d]| [ap]m)", _of_month),
    (rf"\b(?:the )?{_NTH}\b", _of_any_month),
    (r"\b(?:the )?day after tomorrow\b|\btomorrow\b|\btoday\b|\btonight\b", _relative),
    (rf"\b(?:(?P<next>next)|this|on)? ?(?P<weekday>{_DAYS})s?\b(?P<next_week> next week)?", _weekday),
)
_PART = r"(?: (?P<part>[ap]m))?"
_BEFORE = r"(?:^|\| ?|\b(?:at|for|to|it|that|meant|around|about|no|yes|please|sorry) )"
_AFTER = r"(?= *(?:$|\||please\b|then\b|in\b|on\b|this\b|thank))"
_TIME_PATTERNS = (
    rf"\b(?P<hour>\d{{1,2}}):(?P<minute>\d\d)\b{_PART}",
    rf"\b(?P<half>half) past (?P<hour>\d{{1,2}})\b{_PART}",
    rf"\bquarter (?P<relation>past|to) (?P<hour>\d{{1,2}})\b{_PART}",
    rf"\b(?P<minute>\d{{1,2}})(?: minutes)? (?P<relation>past|to) (?P<hour>\d{{1,2}})\b{_PART}",
    rf"\b(?P<hour>\d{{1,2}}) (?P<minute>0 \d|\d\d)\b{_PART}",
    rf"\b(?P<hour>\d{{1,2}}) oclock\b{_PART}",
    r"\b(?P<hour>\d{1,2}) (?P<part>[ap]m)\b",
    # A bare number is a time where one is expected ("at three", "Tuesday three"), and else just a number.
    rf"{_BEFORE}(?P<hour>\d{{1,2}})\b(?! \d){_PART}{_AFTER}",
)


def _time(text: str) -> int | None:
    """The time named in `text`, in minutes since midnight."""
    if re.search(r"\b(noon|midday)\b", text):
        return 12 * 60
    if re.search(r"\bmidnight\b", text):
        return 0
    for pattern in _TIME_PATTERNS:
        match = re.search(pattern, text)
        if match:
            return _minutes(match, _part_of_day(text, match))
    return None


def _minutes(match: re.Match[str], part: str | None) -> int | None:
    found = match.groupdict()
    hour = int(found["hour"])
    minute = 30 if found.get("half") else int((found.get("minute") or "0").replace(" ", ""))
    if found.get("relation") and found.get("minute") is None:
        minute = 15
    if hour > 23 or minute > 59:
        return None
    if 1 <= hour <= 12:
        hour = _of_day(hour, part)
    total = hour * 60 + (-minute if found.get("relation") == "to" else minute)
    return total % (24 * 60)


def _of_day(hour: int, part: str | None) -> int:
    """An hour of the clock face as an hour of the day."""
    if part == "am":
        return hour % 12
    if part == "pm":
        return hour % 12 + 12
    return hour if hour >= 8 else hour + 12


def _part_of_day(text: str, match: re.Match[str]) -> str | None:
    part: str | None = match["part"]
    if part:
        return part
    named = re.search(r"\b(am|pm|morning|afternoon|evening|tonight)\b", text)
    if named is None:
        return None
    return "am" if named[0] in ("am", "morning") else "pm"
