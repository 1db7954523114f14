"""What the front desk answers; tests of `answers` and `saying`, too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import DeskDialog, at
from voice_agent.agents.frontdesk.desk import context
from voice_agent.agents.frontdesk.dialog import decide, greet
from voice_agent.agents.frontdesk.doubts import CallersWords
from voice_agent.agents.frontdesk.language import language_of
from voice_agent.agents.frontdesk.memory import Memory
from voice_agent.speech.sentence_end import is_backchannel

GREETING = language_of("en").say("greeting")
GOODBYE = language_of("en").say("goodbye")
THREE = "Tuesday the first of December at three in the afternoon"
FOUR = "Tuesday the first of December at four in the afternoon"


def booked(text: str = "next tuesday at three") -> DeskDialog:
    """A dialog in which that was booked."""
    dialog = DeskDialog()
    dialog.say(text)
    assert dialog.say("yes").startswith("Done: ")
    return dialog


def test_booking_asks_for_what_is_missing() -> None:
    """Day, then time, then what is going to be done, and it is done on a yes."""
    dialog = DeskDialog()
    answer = dialog.say("I'd like to book an appointment next Tuesday")
    assert answer == "What time on Tuesday the first of December would suit you?"
    assert dialog.say("at three") == f"Shall I book {THREE}?"
    assert dialog.slots() == []
    assert dialog.say("yes please").startswith(f"Done: {THREE}.")
    assert dialog.slots() == [("2026-12-01", 15 * 60)]


def test_booking_in_one_sentence() -> None:
    """Whoever says everything at once is asked for a yes alone."""
    dialog = booked("can i book an appointment for tomorrow at ten thirty")
    assert dialog.slots() == [("2026-11-24", 10 * 60 + 30)]


def test_time_before_day() -> None:
    """The order does not matter."""
    dialog = DeskDialog()
    assert dialog.say("book an appointment") == "Which day would suit you?"
    assert dialog.say("at three") == "Which day at three in the afternoon would suit you?"
    assert dialog.say("on friday") == "Shall I book Friday the twenty seventh of November at three in the afternoon?"


@pytest.mark.parametrize(
    "correction",
    ["no, make it four", "No, make it for.", "sorry i meant four", "actually make that 4 pm", "no at four"],
)
def test_a_correction_changes_what_was_done(correction: str) -> None:
    """A correction moves the appointment just made, after a yes, and makes no second one."""
    dialog = booked()
    assert dialog.say(correction) == f"Shall I move your appointment from {THREE} to {FOUR}?"
    assert dialog.slots() == [("2026-12-01", 15 * 60)]
    assert dialog.say("yes").startswith(f"Changed: {FOUR}.")
    assert dialog.slots() == [("2026-12-01", 16 * 60)]


def test_a_day_after_something_was_done_is_asked_about() -> None:
    """Without a word of correction, too."""
    dialog = booked()
    assert dialog.say("tomorrow at ten") == (
        f"Shall I move your appointment from {THREE} to Tuesday the twenty fourth of November at ten in the morning?"
    )
    assert dialog.slots() == [("2026-12-01", 15 * 60)]
    assert dialog.say("yes").startswith("Changed: ")
    assert dialog.slots() == [("2026-11-24", 10 * 60)]


def test_a_closed_day_is_refused_with_a_reason_and_an_offer() -> None:
    """Sunday: why not, and when instead; "yes" takes the offer."""
    dialog = DeskDialog()
    assert dialog.say("book an appointment on sunday at eleven") == (
        "We are closed on Sundays. Would Monday the thirtieth of November at eleven in the morning suit you?"
    )
    assert dialog.say("yes please").startswith("Done: ")
    assert dialog.slots() == [("2026-11-30", 11 * 60)]


@pytest.mark.parametrize(
    ("time", "offered"), [("eight pm", "half past four in the afternoon"), ("7 am", "nine in the morning")]
)
def test_a_time_outside_the_hours_is_refused_with_an_offer(time: str, offered: str) -> None:
    """Too late and too early: the hours, and the nearest time that can be had."""
    dialog = DeskDialog()
    answer = dialog.say(f"book an appointment tomorrow at {time}")
    assert "we are open from nine in the morning to five in the afternoon" in answer
    assert f"Would Tuesday the twenty fourth of November at {offered} suit you?" in answer
    assert dialog.slots() == []


def test_an_offer_can_be_declined_or_replaced() -> None:
    """A no to an offer asks again; another time instead of a yes is taken as that."""
    dialog = DeskDialog()
    dialog.say("book an appointment tomorrow at eight pm")
    assert dialog.say("no") == "Which day and time would suit you?"
    dialog.say("tomorrow at eight pm")
    assert dialog.say("at two") == "Shall I book Tuesday the twenty fourth of November at two in the afternoon?"


def test_what_is_past_is_refused() -> None:
    """Nine in the morning is over at ten."""
    dialog = DeskDialog()
    assert dialog.say("book an appointment today at nine").startswith("That time is past. Would Monday")
    assert dialog.slots() == []


def test_moving_keeps_what_is_not_said() -> None:
    """Only a day: the time stays. Only a time: the day stays."""
    dialog = booked()
    assert dialog.say("move my appointment to friday").endswith(
        "to Friday the twenty seventh of November at three in the afternoon?"
    )
    assert dialog.say("yes").startswith("Changed: Friday the twenty seventh of November at three in the afternoon.")
    assert "To which day and time" in dialog.say("i need to reschedule my appointment")
    dialog.say("to half past nine")
    dialog.say("yes")
    assert dialog.slots() == [("2026-11-27", 9 * 60 + 30)]


def test_cancelling_asks_first() -> None:
    """An appointment goes only after a yes."""
    dialog = booked()
    question = "Shall I cancel your appointment on Tuesday the first of December at three in the afternoon?"
    assert dialog.say("please cancel my appointment") == question
    assert dialog.say("no").startswith("Then it stays as it is.")
    assert len(dialog.slots()) == 1
    dialog.say("cancel my appointment")
    assert "is cancelled" in dialog.say("yes")
    assert dialog.slots() == []


def test_of_several_appointments_the_day_tells_which() -> None:
    """With two appointments the desk asks which, and the day answers."""
    dialog = booked("tomorrow at ten")
    dialog.say("book another appointment on friday at two")
    dialog.say("yes")
    assert dialog.say("cancel my appointment").startswith("Which one do you mean: Tuesday")
    assert "on Friday" in dialog.say("the one on friday")
    dialog.say("yes")
    assert dialog.slots() == [("2026-11-24", 10 * 60)]


def test_nothing_to_cancel() -> None:
    """Without an appointment the desk offers to book one."""
    dialog = DeskDialog()
    assert "Shall I book one?" in dialog.say("cancel my appointment")
    assert dialog.say("yes") == "Which day would suit you?"


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("what are your opening hours", "from Monday to Friday from nine in the morning to five in the afternoon"),
        ("are you open on sunday", "On Sunday the twenty ninth of November we are closed."),
        ("when do you close on saturday", "from ten in the morning to one in the afternoon"),
    ],
)
def test_opening_hours(question: str, answer: str) -> None:
    """Hours in general and of a day."""
    assert answer in DeskDialog().say(question)


def test_hours_in_the_middle_of_a_booking() -> None:
    """A question in between does not lose the booking; it is asked on."""
    dialog = DeskDialog()
    dialog.say("book an appointment tomorrow")
    assert dialog.say("when are you open").endswith(
        "What time on Tuesday the twenty fourth of November would suit you?"
    )
    assert dialog.say("at two").startswith("Shall I book Tuesday the twenty fourth")


@pytest.mark.parametrize("number", ["4711", "four seven one one", "it is four seven one one"])
def test_order_status(number: str) -> None:
    """An order is looked up by its four digits, which are asked for."""
    dialog = DeskDialog()
    assert "four digits" in dialog.say("where is my order")
    assert "Order number four seven one one was shipped" in dialog.say(number)


def test_an_unknown_order_is_asked_again() -> None:
    """A number that does not exist is read back."""
    assert "cannot find an order number nine nine nine nine" in DeskDialog().say("order number nine nine nine nine")


def test_not_understood_is_said_differently_the_second_time() -> None:
    """Three turns of noise: three different answers, the question open as before."""
    dialog = DeskDialog()
    dialog.say("book an appointment tomorrow")
    answers = [dialog.say(None) for _ in range(3)]
    assert len(set(answers)) == 3
    assert "did not understand" in answers[0]
    assert "For example: at three" in answers[1]
    assert "a person, please" in answers[2]
    assert dialog.say("at two").startswith("Shall I book Tuesday the twenty fourth")


def test_silence_is_not_the_same_as_noise() -> None:
    """Nothing said is called that."""
    assert DeskDialog().say("").startswith("I did not hear anything.")


@pytest.mark.parametrize("text", ["I have 3 dogs", "the weather is lovely", "42", "may I", "second to none", "ten"])
def test_nothing_is_guessed(text: str) -> None:
    """What has no meaning here books nothing."""
    dialog = DeskDialog()
    dialog.say(text)
    dialog.say("yes")
    assert dialog.slots() == []


def test_pardon_repeats() -> None:
    """What was said last is said again, word for word."""
    dialog = DeskDialog()
    said = dialog.say("book an appointment tomorrow")
    assert dialog.say("could you repeat that please") == said


@pytest.mark.parametrize(
    "words",
    [
        "goodbye",
        "that's all thank you",
        "no thank you",
        "no, sorry",
        "no, that will be all for today",
        "no, I have everything I need",
        "no, I really do not need anything else from you, thank you",
    ],
)
def test_goodbye_hangs_up(words: str) -> None:
    """After what was wanted is done, goodbye ends the call."""
    dialog = booked()
    assert dialog.say(words) == GOODBYE
    assert dialog.hung_up


@pytest.mark.parametrize(
    "words",
    [
        "no, make it forward",
        "no, I said for you",
        "No, actually, when they do sleep matter.",
        "oh wait, no, I sent the state, and the state not to stay",
    ],
)
def test_a_no_that_goes_on_with_what_was_not_understood_is_no_goodbye(words: str) -> None:
    """It may have been "no, make it four"."""
    dialog = booked()
    assert dialog.say(words).startswith("I am sorry, I did not understand that.")
    assert not dialog.hung_up


def test_greeting_and_silence_of_the_caller() -> None:
    """A call begins with a greeting; asked to speak again without a word in between, the desk asks its question."""
    desk = context(at())
    first = greet(Memory(), desk)
    assert first.text == GREETING
    assert greet(first.memory, desk).text == "I am still here. How can I help you?"


WORDS = (
    "book move cancel my appointment an order number hours open yes no please thank you bye make it at on next this "
    "tomorrow today tuesday sunday the of december february 30th 31st first fifth half past quarter to three twelve "
    "oh one two four 15:00 3:30 pm am morning afternoon noon midnight another day week 9999 2026-02-30 9999-12-31 "
    "25:99 0"
).split()


@settings(max_examples=300)
@given(
    st.lists(st.none() | st.text(max_size=40) | st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join), max_size=8)
)
@example(["²³ pm", "٣", "at 12:60", "the 0th", "29th february", "december 99th"])
def test_any_talk_is_answered_and_stays_storable(texts: list[str | None]) -> None:
    """Whatever is said: an answer, a state that survives JSON, and only appointments that can be kept."""
    dialog = DeskDialog()
    for text in texts:
        assert dialog.say(text) or (text and is_backchannel(text))
    for day, minutes in dialog.slots():
        assert day is not None and minutes is not None
        held = datetime.fromisoformat(f"{day}T{minutes // 60:02}:{minutes % 60:02}+00:00")
        assert held > datetime(2026, 11, 23, 10, tzinfo=UTC)
        assert held.weekday() < 6 and 9 <= held.hour < 17


@settings(max_examples=50)
@given(st.sampled_from(WORDS), st.integers(0, 4_000_000_000_000))
def test_the_same_turn_gives_the_same_answer(text: str, now_ms: int) -> None:
    """A decision depends on its arguments alone, at any time of the calendar."""
    said = CallersWords(text)
    assert decide(said, Memory(), context(now_ms)) == decide(said, Memory(), context(now_ms))


def test_memory_of_another_version_is_read() -> None:
    """Unknown fields are left out and missing ones take their defaults."""
    assert Memory.from_json({"asked": "time", "mood": "good"}) == Memory(asked="time")


def test_a_day_far_ahead_is_not_booked() -> None:
    """The last day of the calendar neither: what comes after it could not be offered."""
    dialog = DeskDialog()
    for _ in range(2):
        assert "a year ahead" in dialog.say("book on 9999-12-31 at 3pm")
    assert dialog.slots() == []


def test_the_clock_is_utc() -> None:
    """One millisecond before midnight UTC it is still today."""
    late = at(datetime(2026, 11, 24, tzinfo=UTC)) - 1
    assert (
        "Tuesday the twenty fourth"
        in decide(CallersWords("book an appointment tomorrow"), Memory(), context(late)).text
    )


def test_who_is_not_understood_is_asked_for_a_longer_yes() -> None:
    """Where one is due: of a word alone hardly anything is heard in noise. Who was silent need not say more."""
    dialog = DeskDialog()
    question = dialog.say("book an appointment on tuesday at three")
    longer = f"Please say: yes, please, or name another day and time. {question}"
    assert dialog.say(None) == f"I am sorry, I did not understand that. {longer}"
    assert dialog.say(None) == f"I still did not get that. {longer}"
    assert dialog.say("yes, please").startswith("Done")
    dialog = DeskDialog()
    assert dialog.say("book an appointment on tuesday at three") == question
    assert dialog.say("") == f"I did not hear anything. {question}"
