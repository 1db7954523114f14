"""Answers to what is read back, in a caller's own words: yes, no, and no to a part of it. Also a moment's patience."""

from __future__ import annotations

import pytest

from tests.agents.frontdesk.dialogs import DeskDialog

WHEN = "Which day and time would suit you?"
WHAT_TIME = "What time on Tuesday the first of December would suit you?"
WHICH_DAY = "Which day at three in the afternoon would suit you?"


def offered(language: str = "en") -> DeskDialog:
    """Tuesday of the next week at three was read back."""
    dialog = DeskDialog(language=language)
    dialog.say("nächsten Dienstag um drei" if language == "de" else "next tuesday at three")
    return dialog


@pytest.mark.parametrize(
    "yes",
    [
        "go ahead",
        "please do",
        "that works for me",
        "Sounds good.",
        "absolutely",
        "why not",
        "book it",
        "Mm-hmm.",
        "mhm",
        "you bet",
        "I think so",
        "let's go with that",
        "if you could, please",
        "please",
        "yes, that one please",
        "yes, Tuesday is fine",
        "three is good",
        "no problem",
    ],
)
def test_a_yes_in_other_words(yes: str) -> None:
    """It is booked, as it was read back."""
    dialog = offered()
    assert dialog.say(yes).startswith("Done: Tuesday the first of December at three"), yes


@pytest.mark.parametrize("both", ["Yes, not right.", "yes, not slide", "okay, no", "sure, don't"])
def test_a_yes_that_is_a_no_is_neither(both: str) -> None:
    """One of the two was misheard: what was read back is asked once more, and neither done nor dropped."""
    dialog = offered()
    said = dialog.say(both)
    assert said.startswith("I am sorry, I did not understand that.")
    assert "Tuesday the first of December at three" in said
    assert dialog.say("yes").startswith("Done: Tuesday the first of December at three")


@pytest.mark.parametrize(
    ("no", "answer"),
    [
        ("not really", WHEN),
        ("I don't think so", WHEN),
        ("please don't", WHEN),
        ("that doesn't work", WHEN),
        ("I can't then", WHEN),
        ("too early", WHEN),
        ("could it be a bit later", WHEN),
        ("the next day, please", WHEN),
        ("not that one", WHEN),
        ("not at three", WHAT_TIME),
        ("Not three o'clock, please.", WHAT_TIME),
        ("three is too late", WHAT_TIME),
        ("not Tuesday", WHICH_DAY),
        ("Tuesday is no good", WHICH_DAY),
        ("Tuesday doesn't work for me", WHICH_DAY),
        ("not Tuesday, and not at three", WHEN),
    ],
)
def test_a_no_in_other_words_and_to_what(no: str, answer: str) -> None:
    """What was not denied is kept; nothing is booked, and no number that is none is a time."""
    dialog = offered()
    assert dialog.say(no) == answer
    assert dialog.slots() == []


@pytest.mark.parametrize(
    ("said", "read_back"),
    [
        ("not at three, at four", "Tuesday the first of December at four in the afternoon"),
        ("not three but four", "Tuesday the first of December at four in the afternoon"),
        ("not tuesday, thursday", "Thursday the twenty sixth of November at three in the afternoon"),
        ("no, Wednesday", "Wednesday the twenty fifth of November at three in the afternoon"),
        ("no wait, Wednesday at two", "Wednesday the twenty fifth of November at two in the afternoon"),
        ("Thursday isn't good, Friday", "Friday the twenty seventh of November at three in the afternoon"),
    ],
)
def test_a_correction_is_read_back(said: str, read_back: str) -> None:
    """Of what was named in its place."""
    assert offered().say(said) == f"Shall I book {read_back}?"


@pytest.mark.parametrize(
    "wait", ["hold on", "wait", "Just a moment, please.", "let me check", "one second", "a second"]
)
def test_a_caller_may_take_their_time(wait: str) -> None:
    """The question stays open."""
    dialog = offered()
    assert dialog.say(wait) == "Take your time."
    assert dialog.say("yes").startswith("Done: ")


@pytest.mark.parametrize("again", ["what?", "Sorry?", "come again?", "could you speak up", "slower, please"])
def test_what_was_not_caught_is_said_again(again: str) -> None:
    """And a sorry before a correction is none of these."""
    dialog = offered()
    assert dialog.say(again) == "Shall I book Tuesday the first of December at three in the afternoon?"
    assert "Wednesday" in dialog.say("sorry, I meant Wednesday")


@pytest.mark.parametrize(
    "person",
    [
        "I want to speak to a human being",
        "get me a real person",
        "humans, please",
        "put me through",
        "call me back, please",
        "can I have a word with somebody who works there",
        "agent",
        "are you a human",
    ],
)
def test_a_person_is_asked_for_in_other_words(person: str) -> None:
    """A call back is offered."""
    assert "Shall somebody call you back?" in DeskDialog().say(person)


@pytest.mark.parametrize("there", ["is anyone there", "are you still there?", "can you hear me"])
def test_whether_somebody_is_there_asks_for_no_opening_hours(there: str) -> None:
    """The desk says hello, and what it has asked."""
    assert DeskDialog().say(there).startswith("Hello, this is the front desk.")
    assert offered().say(there).startswith("Hello. Shall I book Tuesday")
    assert DeskDialog().say("is anyone there on Sunday").startswith("On Sunday")


@pytest.mark.parametrize(
    ("said", "read_back"),
    [
        ("the first one you have", "Would Monday the twenty third of November at eleven in the morning suit you?"),
        ("the first available appointment", "Would Monday the twenty third of November at eleven in the morning"),
        ("the first of December at three", "Shall I book Tuesday the first of December at three"),
        ("on the first", "What time on Tuesday the first of December would suit you?"),
    ],
)
def test_the_first_is_a_day_and_the_first_one_is_the_soonest(said: str, read_back: str) -> None:
    """And no "one" is a time."""
    assert DeskDialog().say(said).startswith(read_back)


@pytest.mark.parametrize("said", ["where is order 4711 and 5029", "orders 4711 and 5029, please"])
def test_two_orders_in_one_breath_are_both_told(said: str) -> None:
    """One that is named twice is told once."""
    dialog = DeskDialog()
    dialog.say(said)
    assert dialog.acts == ["order 4711", "order 5029"]
    dialog.say("where is my order 4711, and it is number 4711")
    assert dialog.acts[2:] == ["order 4711"]


GERMAN_WHEN = "Welcher Tag und welche Uhrzeit würden Ihnen passen?"


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("mhm", "Gebucht: Dienstag"),
        ("ja, gerne", "Gebucht: Dienstag"),
        ("nein", GERMAN_WHEN),
        ("das passt mir nicht", GERMAN_WHEN),
        ("etwas später bitte", GERMAN_WHEN),
        ("nicht um drei", "Welche Uhrzeit würde Ihnen passen am Dienstag, den ersten Dezember?"),
        ("drei Uhr ist zu spät", "Welche Uhrzeit würde Ihnen passen am Dienstag, den ersten Dezember?"),
        ("Dienstag passt mir nicht", "Welcher Tag würde Ihnen passen, um fünfzehn Uhr?"),
        (
            "nicht Dienstag, sondern Donnerstag",
            "Soll ich Donnerstag, den sechsundzwanzigsten November, um fünfzehn Uhr",
        ),
        ("nein, Mittwoch", "Soll ich Mittwoch, den fünfundzwanzigsten November, um fünfzehn Uhr buchen?"),
        ("Moment", "Lassen Sie sich Zeit."),
        ("wie bitte?", "Soll ich Dienstag, den ersten Dezember, um fünfzehn Uhr buchen?"),
        ("hören Sie mich?", "Guten Tag. Soll ich Dienstag"),
        ("lassen Sie es", "Gut, ich lasse es."),
    ],
)
def test_german_callers_answer_in_their_words(said: str, answer: str) -> None:
    """By another folder of data, and the same code."""
    assert offered("de").say(said).startswith(answer)


def test_a_german_talk_of_each_kind() -> None:
    """Booked, told, moved, cancelled; two wishes in one breath; a doubt; a name that is spelt; good-bye."""
    dialog = DeskDialog(language="de")
    dialog.say("ich hätte gern einen Termin nächsten Dienstag um drei")
    assert dialog.say("ja bitte").startswith("Gebucht:")
    assert "Ihr Termin ist am Dienstag" in dialog.say("wann ist mein Termin und wo ist meine Bestellung 4711")
    assert dialog.say("verschieben Sie ihn auf Freitag um zehn").startswith("Soll ich Ihren Termin von Dienstag")
    assert dialog.say("ja").startswith("Verschoben: Freitag, den siebenundzwanzigsten November, um zehn Uhr")
    assert dialog.say("ich muss leider absagen").startswith("Soll ich Ihren Termin am Freitag")
    assert "ist abgesagt" in dialog.say("ja, bitte")
    asked = dialog.say("wo ist Bestellung 5029", "wo ist Bestellung 4711")
    assert asked == "Haben Sie gesagt: Bestellung fünf null zwei neun?"
    assert dialog.say("nein") == "Haben Sie gesagt: Bestellung vier sieben eins eins?"
    assert "ging gestern auf den Weg" in dialog.say("ja")
    assert dialog.say("ich möchte mit einem Menschen sprechen").endswith("Soll Sie jemand zurückrufen?")
    dialog.say("ja")
    assert "Müller" in dialog.say("Müller, M Ü Doppel-L E R")
    assert dialog.say("ja").startswith("Müller, während unserer Öffnungszeiten")
    assert dialog.say("nein danke, auf Wiederhören").startswith("Vielen Dank")
    assert dialog.hung_up
    kinds = [act.split()[0] for act in dialog.acts]
    assert kinds == ["book", "mine", "order", "move", "cancel", "order", "person", "callback", "bye"]
