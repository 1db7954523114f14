"""Days, times and digits in words of a language, as they are said."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from voice_agent.agents.frontdesk.language import Language


def day(value: date, language: Language) -> str:
    """Tuesday the first of December."""
    return language.say(
        "day",
        weekday=language.weekdays[value.weekday()],
        ordinal=language.ordinals[value.day - 1],
        month=language.months[value.month - 1],
    )


def time(minutes: int, language: Language) -> str:
    """Half past two in the afternoon; of minutes since midnight."""
    clock = language.clock
    hour, minute = divmod(minutes, 60)
    known = clock.templates.get(f"{hour}:{minute:02}")
    if known is not None:
        return known
    kind = "on_the_hour" if minute == 0 else "under_ten" if minute < 10 else "other"
    template = clock.templates.get(str(minute), clock.templates[kind])
    part = next((said for until, said in clock.parts if hour < until), "")
    face = (hour - 1) % 12 + 1 if clock.face == 12 else hour
    said = clock.templates.get("one", language.numbers[1]) if face == 1 else language.numbers[face]
    return template.format(hour=said, minute=language.numbers[minute], part=part).strip()


def slot(day_: str | None, minutes: int | None, language: Language) -> str:
    """Tuesday the first of December at noon; without what is not known."""
    said_day = day(date.fromisoformat(day_), language) if day_ else ""
    if minutes is None:
        return said_day
    said_time = time(minutes, language)
    return language.say("slot", day=said_day, time=said_time) if day_ else language.say("slot_time", time=said_time)


def digits(text: str, language: Language) -> str:
    """Digit by digit."""
    return " ".join(language.numbers[int(digit)] for digit in text)


def listed(choices: Sequence[str], language: Language, joiner: str = "or") -> str:
    """A, B or C."""
    last = language.answers[joiner]
    return last.join(filter(None, [", ".join(choices[:-1]), *choices[-1:]]))
