"""What is understood of texts; tests of `days`, `times` and `plain`, too."""

from __future__ import annotations

from datetime import date

import pytest

from voice_agent.agents.frontdesk.language import language_of
from voice_agent.agents.frontdesk.understanding import Understood, understand

MONDAY = date(2026, 11, 23)


def heard(text: str, language: str = "en", due: str = "") -> Understood:
    """What one wish means, on a Monday; of nothing, nothing."""
    return next(iter(understand(text, language_of(language), MONDAY, due)), Understood())


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("at three", 15 * 60),
        ("3", 15 * 60),
        ("15:00", 15 * 60),
        ("3:30 p.m.", 15 * 60 + 30),
        ("3.30 pm", 15 * 60 + 30),
        ("3pm", 15 * 60),
        ("at three p m", 15 * 60),
        ("at ten a m please", 10 * 60),
        ("ten thirty", 10 * 60 + 30),
        ("ten thirty-five", 10 * 60 + 35),
        ("two oh five", 14 * 60 + 5),
        ("half past two in the afternoon", 14 * 60 + 30),
        ("a quarter past eleven", 11 * 60 + 15),
        ("at 915", 9 * 60 + 15),
        ("for 15", 16 * 60 + 15),
        ("half past time", 9 * 60 + 30),
        ("a quarter past mine", 9 * 60 + 15),
        ("a quarter to then, please", 9 * 60 + 45),
        ("half past free", 15 * 60 + 30),
        ("at twenty past tree", 15 * 60 + 20),
        ("free in the afternoon would be great", 15 * 60),
        ("at 2. 30", 14 * 60 + 30),
        ("around to 30", 14 * 60 + 30),
        ("for 30 would be good", 16 * 60 + 30),
        ("on Monday at 1130.", 11 * 60 + 30),
        ("quarter to four", 15 * 60 + 45),
        ("twenty to ten", 9 * 60 + 40),
        ("four o'clock", 16 * 60),
        ("noon", 12 * 60),
        ("twelve", 12 * 60),
        ("nine", 9 * 60),
        ("eight", 8 * 60),
        ("eight in the evening", 20 * 60),
        ("12 am", 0),
        ("no, make it four", 16 * 60),
        ("no, make it for", 16 * 60),
        ("I have 3 dogs", None),
        ("at 25:00", None),
    ],
)
def test_times(text: str, minutes: int | None) -> None:
    """Times as they are said and written; a bare hour is one of business."""
    assert heard(text).time == minutes


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("today", "2026-11-23"),
        ("tomorrow", "2026-11-24"),
        ("the day after tomorrow", "2026-11-25"),
        ("Tuesday", "2026-11-24"),
        ("this tuesday", "2026-11-24"),
        ("next tuesday", "2026-12-01"),
        ("tuesday next week", "2026-12-01"),
        ("monday", "2026-11-30"),
        ("the fifth of december", "2026-12-05"),
        ("december 5", "2026-12-05"),
        ("Dec 5th", "2026-12-05"),
        ("december the third", "2026-12-03"),
        ("on saturday the fifth of december", "2026-12-05"),
        ("the twenty fifth", "2026-11-25"),
        ("the third", "2026-12-03"),
        ("the fifth of may", "2027-05-05"),
        ("29 february", "2028-02-29"),
        ("2026-12-24", "2026-12-24"),
        ("may i have a word", None),
    ],
)
def test_days(text: str, day: str | None) -> None:
    """Days as they are said and written, seen from a Monday."""
    found = heard(text).day
    assert (found and found.isoformat()) == day


@pytest.mark.parametrize("text", ["the 31st of april", "february 30", "2026-13-01", "the 0th"])
def test_days_that_do_not_exist(text: str) -> None:
    """Such a day is no day, and known not to be one."""
    found = heard(text)
    assert found.day is None
    assert found.no_such_day


@pytest.mark.parametrize(
    ("text", "day", "minutes"),
    [
        ("Tuesday 3pm", "2026-11-24", 900),
        ("tuesday at 3", "2026-11-24", 900),
        ("on the fifth of december at three p m", "2026-12-05", 900),
        ("at half past two on friday", "2026-11-27", 870),
        ("friday morning at ten", "2026-11-27", 600),
    ],
)
def test_day_and_time(text: str, day: str, minutes: int) -> None:
    """Both in one sentence, in either order."""
    found = heard(text)
    assert (found.day and found.day.isoformat(), found.time) == (day, minutes)


def test_good_morning_is_no_time_of_day() -> None:
    """A greeting does not turn three o'clock into the night."""
    assert heard("good morning i'd like to book an appointment at three").time == 15 * 60


def test_a_day_is_found_in_what_an_ear_makes_of_it() -> None:
    """In noise, and with no doubt at all: "today" after a verb that asks for hours."""
    for badly in ("When do you close to death?", "When do you close to me?", "When do you close the day?"):
        assert heard(badly).day == MONDAY, badly
    for badly in ("What time do you shot on Friday?", "What time do you should on Friday?"):
        assert heard(badly).task == "hours", badly
    for badly in ("Would Wednesday at then work for you?", "Would Wednesday attend work for you?"):
        assert heard(badly).time == 10 * 60, badly
    assert heard("Is there a slot left tomorrow until 11?").time == 11 * 60
    for badly in ("Could you make it have past 4 instead?", "Could you make it have pest for instead?"):
        assert heard(badly).time == 16 * 60 + 30, badly
    late = heard("Put me down for December 3rd add to 30.")
    assert (late.day, late.time) == (date(2026, 12, 3), 14 * 60 + 30)
    assert heard("Tuesday after noon, around three").time == 15 * 60
    assert heard("My package 8o 8o is late.").digits == "8080"
