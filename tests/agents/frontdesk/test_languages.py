"""Each language is a folder; German is the proof. Tests of `language` and `saying`, too."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from importlib.resources import files
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import DeskDialog
from voice_agent.agents.frontdesk import saying
from voice_agent.agents.frontdesk.language import known_languages, language_of
from voice_agent.agents.frontdesk.understanding import understand

LANGUAGES = sorted(known_languages())
THURSDAY = datetime(2026, 11, 26, 10, tzinfo=UTC)
FIELD = re.compile(r"\{(\w+)\}")


def data(language: str, name: str) -> dict[str, Any]:
    folder = files("voice_agent.agents.frontdesk.languages").joinpath(language)
    return tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def test_every_language_answers_and_understands_the_same() -> None:
    """The same answers with the same gaps, the same tasks in the same order, the same intents."""
    english, tasks = data("en", "answers"), list(data("en", "understanding")["tasks"])
    for language in LANGUAGES:
        own, understood = data(language, "answers"), data(language, "understanding")
        assert set(own) == set(english), language
        assert list(understood["tasks"]) == tasks, language
        assert set(understood["intents"]) == set(data("en", "understanding")["intents"]), language
        for name, text in english.items():
            if isinstance(text, str):
                assert set(FIELD.findall(own[name])) <= set(FIELD.findall(text)), (language, name)
        assert language_of(language).patterns.corrections.groups == 0, language


@pytest.mark.parametrize("language", LANGUAGES)
@given(day=st.dates(date(2026, 11, 26), date(2027, 11, 25)), minutes=st.integers(8 * 12, 20 * 12 - 1))
def test_what_is_said_is_understood(language: str, day: date, minutes: int) -> None:
    """Every day of a year and every five minutes: the desk understands its own words."""
    spoken = language_of(language)
    text = saying.slot(day.isoformat(), minutes * 5, spoken)
    (heard,) = understand(text, spoken, date(2026, 11, 26))
    assert (heard.day, heard.time) == (day, minutes * 5), text


@pytest.mark.parametrize(
    ("given", "said", "answer"),
    [
        (
            (),
            "ich hätte gern einen Termin am Dienstag um drei",
            "Soll ich Dienstag, den ersten Dezember, um fünfzehn Uhr",
        ),
        (
            (),
            "kann ich morgen um halb elf vorbeikommen?",
            "Soll ich Freitag, den siebenundzwanzigsten November, um zehn Uhr",
        ),
        ((), "am 1.12. um Viertel vor vier", "Soll ich Dienstag, den ersten Dezember, um fünfzehn Uhr fünfundvierzig"),
        ((), "wo ist meine Bestellung vier sieben eins eins?", "Die Bestellung vier sieben eins eins ging gestern"),
        (
            (),
            "wann haben Sie am Samstag geöffnet?",
            "Am Samstag, den achtundzwanzigsten November, haben wir von zehn Uhr",
        ),
        ((), "könnte ich bitte mit einem Menschen sprechen?", "Von hier aus kann ich Sie nicht verbinden."),
        (("nächsten Dienstag um drei", "ja"), "nein, lieber Mittwoch", "Soll ich Ihren Termin von Dienstag"),
        (("nächsten Dienstag um drei", "ja"), "ich kann am Dienstag nicht kommen", "Soll ich Ihren Termin am Dienstag"),
        (("nächsten Dienstag um drei",), "ja, gerne", "Gebucht: Dienstag, den ersten Dezember, um fünfzehn Uhr."),
        (
            ("nächsten Dienstag um drei", "ja"),
            "nein, mach lieber forder",
            "Es tut mir leid, das habe ich nicht verstanden.",
        ),
        (("nächsten Dienstag um drei", "ja"), "nein, mach vier daraus", "Soll ich Ihren Termin von Dienstag"),
        (("nächsten Dienstag um drei", "ja"), "nein, auf keinen Fall", "Vielen Dank für Ihren Anruf."),
        (("nächsten Dienstag um drei",), "ja, stimmt nicht", "Es tut mir leid, das habe ich nicht verstanden."),
        (("wann haben Sie auf?",), "danke, das war alles", "Vielen Dank für Ihren Anruf. Auf Wiederhören."),
        ((), "Wie ist das Wetter?", "Es tut mir leid, das habe ich nicht verstanden."),
    ],
)
def test_german(given: tuple[str, ...], said: str, answer: str) -> None:
    """A folder of data is a language."""
    dialog = DeskDialog(THURSDAY, language="de-AT")
    for text in given:
        dialog.say(text)
    assert dialog.say(said).startswith(answer)


def test_a_language_without_a_folder_is_english() -> None:
    """So that every caller is answered."""
    assert language_of("tlh").tag == language_of(None).tag == language_of("en-GB").tag == "en"
