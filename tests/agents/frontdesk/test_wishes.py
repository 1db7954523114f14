"""Free phrasing, several wishes in one breath, a person; tests of `booking`, `enquiries`, `names` and `person`, too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import DeskDialog
from voice_agent.agents.frontdesk.language import known_languages, language_of
from voice_agent.agents.frontdesk.names import name_in
from voice_agent.agents.frontdesk.plain import order_number, plain

TUESDAY = "Tuesday the first of December at three in the afternoon"


def booked() -> DeskDialog:
    dialog = DeskDialog()
    dialog.say("next tuesday at three")
    dialog.say("yes")
    return dialog


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("hi there could you squeeze me in next tuesday around three", f"Shall I book {TUESDAY}?"),
        ("is there a slot left next tuesday at 3 pm", f"Shall I book {TUESDAY}?"),
        ("Would next Tuesday at three work for you?", f"Shall I book {TUESDAY}?"),
        ("I'd like to come next Monday at three, no, next Tuesday", f"Shall I book {TUESDAY}?"),
        ("not next monday but next tuesday at three", f"Shall I book {TUESDAY}?"),
        ("book an apartment next choose day at tree", f"Shall I book {TUESDAY}?"),
        (
            "I need the earliest appointment",
            "Would Monday the twenty third of November at eleven in the morning suit you?",
        ),
        ("are you guys around on sunday", "On Sunday the twenty ninth of November we are closed."),
        ("any idea where my parcel is, the number's 4-7-1-1", "Order number four seven one one was shipped"),
        ("wear is my order for 7 1 1", "Order number four seven one one was shipped"),
        ("order forty seven eleven", "Order number four seven one one was shipped"),
        ("is order number 50 29 out yet", "Order number five zero two nine is packed"),
        ("what can you do", "I can book, move or cancel an appointment"),
        ("border for 7-1-1", "Order number four seven one one"),
        ("what time do you close", "We are open from Monday"),
        ("I want to come on Monday to close at this time.", "What time on Monday"),
        ("is there a shop close to me?", "I am sorry"),
        ("Is not a real person I could talk to?", "I cannot put you through from here."),
        ("I do not want a real person", "I am sorry"),
    ],
)
def test_free_phrasing(said: str, answer: str) -> None:
    """People say it their own way, and ears write it theirs."""
    assert DeskDialog().say(said).startswith(answer)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("something came up, could we push it back to Friday", "Shall I move your appointment from Tuesday the first"),
        ("I can't make it on Tuesday, can I come on Friday at ten?", "Shall I move your appointment from Tuesday"),
        ("I won't be able to come, please take me off the list", f"Shall I cancel your appointment on {TUESDAY}?"),
        ("cancel my appointment", f"Shall I cancel your appointment on {TUESDAY}?"),
        ("please get rid of my walking", f"Shall I cancel your appointment on {TUESDAY}?"),
        ("please get rid of my order", "What is the order number?"),
        ("move it from Tuesday to Friday", "Shall I move your appointment from Tuesday the first"),
        ("remind me when I'm supposed to come in", f"Your appointment is on {TUESDAY}."),
        ("I don't want to cancel anything", "Then it stays as it is."),
        ("no, don't cancel it", "Then it stays as it is."),
        ("please do not move it", "Then it stays as it is."),
        (
            "I did not sleep well at all so please cancel my appointment",
            f"Shall I cancel your appointment on {TUESDAY}?",
        ),
        ("I don't feel well, cancel my appointment", f"Shall I cancel your appointment on {TUESDAY}?"),
        ("no, that's all", "Thank you for calling. Goodbye."),
        ("Where is my appointment?", f"Your appointment is on {TUESDAY}."),
        ("where's my appointment", f"Your appointment is on {TUESDAY}."),
        ("make it three", f"Your appointment is on {TUESDAY} already."),
    ],
)
def test_after_a_booking(said: str, answer: str) -> None:
    """What is changed is what was booked."""
    assert booked().say(said).startswith(answer)


def test_not_wanting_a_change_is_a_no_to_what_is_under_way() -> None:
    """Before anything was begun it leaves all as it is."""
    dialog = DeskDialog()
    assert dialog.say("I don't want to cancel anything").startswith("Then it stays as it is.")
    dialog.say("next tuesday at three")
    assert dialog.say("I don't want to move anything") == "Which day and time would suit you?"


def test_a_yes_may_have_other_words_and_a_new_time_is_none() -> None:
    """One is "yes, book it"; but "yes, at four" is read back again."""
    dialog = DeskDialog()
    dialog.say("next tuesday at three")
    assert "at four" in dialog.say("yes but make it four")
    assert dialog.slots() == []
    assert dialog.say("yes book it").startswith("Done: Tuesday the first of December at four")


@pytest.mark.parametrize("no", ["no", "never mind", "forget it", "cancel that"])
def test_what_was_begun_can_be_left(no: str) -> None:
    """And is asked about no more."""
    dialog = DeskDialog()
    dialog.say("next tuesday at three")
    dialog.say(no)
    if no == "no":
        dialog.say(no)
    assert dialog.memory.asked == "more"
    assert dialog.slots() == []


def test_several_wishes_are_all_answered() -> None:
    """What is told is told at once; then one task after the other."""
    dialog = booked()
    said = dialog.say("Cancel my appointment, and book one on Friday at two, and where is order 4711?")
    assert said == (
        "Order number four seven one one was shipped yesterday and will be with you tomorrow. "
        f"Shall I cancel your appointment on {TUESDAY}?"
    )
    said = dialog.say("yes")
    assert said.startswith(f"Your appointment on {TUESDAY} is cancelled. Shall I book Friday the twenty seventh")
    assert dialog.say("yes").startswith("Done: Friday the twenty seventh")
    assert [act.split()[0] for act in dialog.acts] == ["book", "order", "cancel", "book"]


def test_a_yes_and_a_wish_are_both_answered() -> None:
    """In one breath."""
    dialog = DeskDialog()
    dialog.say("next tuesday at three")
    said = dialog.say("yes please, and when do you close on Saturday?")
    assert said.startswith(f"Done: {TUESDAY}. On Saturday the twenty eighth")
    assert len(dialog.slots()) == 1


def test_a_person_is_transferred_to_where_the_settings_name_one() -> None:
    """In whatever words it is asked for."""
    for said in ("a person please", "can I talk to a real human", "I'd rather speak to somebody in charge", "operator"):
        dialog = DeskDialog(person="tel:+4930123456")
        assert dialog.say(said) == "I am putting you through. One moment, please."
        assert dialog.acts == ["person"]


def test_without_one_a_call_back_is_offered_and_the_name_read_back() -> None:
    """A name that is spelt is the one that is kept."""
    dialog = DeskDialog()
    assert dialog.say("a person please").endswith("Shall somebody call you back?")
    assert dialog.say("yes") == "What is your name? You may spell it."
    assert dialog.say("Smith") == "Your name is Smith, spelt S M I T H. Is that right?"
    assert dialog.say("no").startswith("Then please spell your name")
    assert dialog.say("S, M, Y, T, H") == "Your name is Smyth, spelt S M Y T H. Is that right?"
    assert dialog.say("yes").startswith("Smyth, somebody will call you back")
    assert dialog.acts == ["person", "callback Smyth"]


@pytest.mark.parametrize(
    ("said", "language", "name"),
    [
        ("my name is anna smith", "en", "Anna Smith"),
        ("S-M-I-T-H", "en", "Smith"),
        ("M as in Mike, I, K, E", "en", "Mike"),
        ("It's Miller. M I double L E R.", "en", "Miller"),
        ("mike india kilo echo", "en", "Mike"),
        ("Müller, M Ü Doppel-L E R", "de", "Müller"),
        ("M wie Martha, E, Y, E, R", "de", "Meyer"),
        ("", "en", None),
        ("well that is quite a long story you know", "en", None),
    ],
)
def test_names(said: str, language: str, name: str | None) -> None:
    """Said, spelt, by a spelling alphabet; a sentence is no name."""
    assert name_in(said, language_of(language)) == name


@pytest.mark.parametrize(
    ("said", "language", "number"),
    [
        ("four seven double one", "en", "4711"),
        ("4,711", "en", "4711"),
        ("47-11", "en", "4711"),
        ("eight-oh-eight-oh", "en", "8080"),
        ("eighty eighty", "en", "8080"),
        ("four thousand seven hundred eleven", "en", "4711"),
        ("five thousand twenty nine", "en", "5029"),
        ("order to 5 0 2 9", "en", "5029"),
        ("order for seven won won", "en", "4711"),
        ("siebenundvierzig elf", "de", "4711"),
        ("viertausendsiebenhundertelf", "de", "4711"),
        ("fünf null zwo neun", "de", "5029"),
        ("no number at all", "en", None),
    ],
)
def test_order_numbers(said: str, language: str, number: str | None) -> None:
    """As they are said, and as ears write them."""
    spoken = language_of(language)
    assert order_number(plain(said, spoken), spoken, is_due=True) == number


@given(st.sampled_from(sorted(known_languages())), st.text(max_size=300))
def test_any_text_is_made_plain_and_is_so_then(language: str, text: str) -> None:
    """Words of small letters, figures and bars, parted by one blank, whatever was written."""
    words = plain(text, language_of(language))
    assert words == " ".join(words.split())
    assert not set(words) - set("abcdefghijklmnopqrstuvwxyz0123456789:|-_ ")


@given(st.lists(st.sampled_from("0123456789"), min_size=4, max_size=4), st.sampled_from([" ", "-", ", ", ""]))
def test_every_order_number_is_heard_however_it_is_written(digits: list[str], joiner: str) -> None:
    """Digit by digit or at once."""
    english = language_of("en")
    assert order_number(plain(f"order number {joiner.join(digits)}", english), english, is_due=True) == "".join(digits)
