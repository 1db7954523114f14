"""What a voice says for numbers, times and addresses, and where that stands in the written text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.speech.spoken_form import spoken_form


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Order 7112 left.", "Order 7 1 1 2 left."),
        ("The order number is 7112, room 12.", "The order number is 7 1 1 2, room 12."),
        ("Call 03012345 or 555123.", "Call 0 3 0 1 2 3 4 5 or 5 5 5 1 2 3."),
        ("At 9:00, 9:05, 9:30 am or 5 pm.", "At 9 o'clock, 9 oh 5, 9 30 a m or 5 p m."),
        ("On 2026-11-27.", "On November twenty-seventh, 2026."),
        ("It is $12.50 or $1, not €20.", "It is 12 dollars 50 or 1 dollar, not 20 euros."),
        ("bob.smith@example.com.", "bob dot smith at example dot com."),
        ("3.14, 1,250, 12345.5, v1.2.3, 10.0.0.1, ABC123456, 30 people", None),
        ("2026-13-40", None),
        ("nothing to say differently", None),
    ],
)
def test_english_is_said_as_people_say_it(written: str, said: str | None) -> None:
    """None: as it is written."""
    assert spoken_form(written).text == (written if said is None else said)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Bestellung 7112 um 9:30 Uhr.", "Bestellung 7 1 1 2 um 9 Uhr 30."),
        ("Um 9:00 oder 9 Uhr, 12,50 €.", "Um 9 Uhr oder 9 Uhr, 12 Euro 50."),
        ("Am 2026-05-03, bob@example.de", "Am dritten Mai 2026, bob ät example Punkt de"),
    ],
)
def test_german_is_said_as_people_say_it(written: str, said: str) -> None:
    """By its own file, also of a country."""
    assert spoken_form(written, "de").text == spoken_form(written, "de-AT").text == said


def test_a_language_without_a_file_stays_as_it_is_written() -> None:
    """Whatever its tag says."""
    for tag in ("fr", "../en", "x" * 40):
        assert spoken_form("Order 7112", tag).text == "Order 7112"


def test_words_are_found_where_they_are_written() -> None:
    """Of what is said for a number, the first word is the number; the others are no words of the text."""
    written = "Order 7112 left at 9:30 am now."
    form = spoken_form(written)
    said = form.text
    assert said == "Order 7 1 1 2 left at 9 30 a m now."
    words = [[at, at] for at in range(1, len(said)) if said[at - 1] == " "]
    found = [form_at for _, form_at in form.written(words)]
    assert [written[at:].split(maxsplit=1)[0] for at in found] == [
        "7112",
        "left",
        "at",
        "9:30",
        "now.",
    ]


@given(st.text(alphabet="aß 0123456789:.,-@$€#\n", max_size=60), st.sampled_from(["en", "de"]))
def test_places_ascend_and_lie_in_the_text(written: str, language: str) -> None:
    """Whatever is written, and wherever the engine says that words begin."""
    form = spoken_form(written, language)
    places = [place for _, place in form.written([[at, at] for at in range(len(form.text))])]
    assert places == sorted(set(places))
    assert all(0 < place < len(written) for place in places)
