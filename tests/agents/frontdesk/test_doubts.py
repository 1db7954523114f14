"""What is uncertain is asked back, and nothing is done on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import DeskDialog

ORDER = "Order number four seven one one was shipped"
READINGS = [
    "where is order 4711",
    "where is order 5029",
    "are you open on friday",
    "when do you open",
    "book an appointment",
    "book next tuesday at three",
    "cancel my appointment",
]


def test_an_uncertain_order_is_asked_back_and_told_on_a_yes() -> None:
    """Its number is read back; nothing is told before."""
    dialog = DeskDialog()
    assert dialog.say("where is order 4711", uncertain=True) == "Did you say order four seven one one?"
    assert (dialog.acts, dialog.asked_back) == ([], True)
    assert ORDER in dialog.say("yes")
    assert dialog.acts == ["order 4711"]


def test_a_no_asks_for_it_again() -> None:
    """And what is said then is taken for itself."""
    dialog = DeskDialog()
    dialog.say("where is order 5029", uncertain=True)
    assert dialog.say("no") == "Then please say it again."
    assert ORDER in dialog.say("order 4711")
    assert dialog.acts == ["order 4711"]


def test_what_is_said_in_place_of_yes_or_no_holds() -> None:
    """A caller who repeats the request instead is understood."""
    dialog = DeskDialog()
    dialog.say("where is order 5029", uncertain=True)
    assert ORDER in dialog.say("no, order 4711")


def test_of_what_it_may_have_been_that_is_asked_back_which_names_most() -> None:
    """One ear heard next to nothing, the other one a day: the caller is asked about the day."""
    dialog = DeskDialog()
    dialog.say("book an appointment on tuesday at three")
    dialog.say("yes")
    heard = dialog.say("Sorry, I'm Aunt Wendy.", "sorry i meant wednesday")
    assert "Wednesday" in heard
    assert dialog.asked_back


def test_of_what_it_may_have_been_that_is_asked_back_which_answers_the_question() -> None:
    """One ear heard another day in an answer to "what time?", and one in a yes."""
    dialog = DeskDialog()
    dialog.say("book an appointment on tuesday")
    asked = dialog.say("wednesday ten to eleven", "Let's say 10 to 11.")
    assert asked == "Shall I book Tuesday the twenty fourth of November at ten fifty in the morning?"
    assert dialog.say("Yet go for it.", "yeah twelve friday") == "Was that a yes?"
    assert dialog.say("yes").startswith("Done: Tuesday the twenty fourth")


def test_two_texts_that_mean_the_same_are_certain() -> None:
    """Ears may disagree about words, and agree about what was meant."""
    dialog = DeskDialog()
    assert ORDER in dialog.say("where is my order for seven one one", "where is my order four seven one one")


def test_where_nothing_may_have_been_said_nothing_is_certain() -> None:
    """An ear says so that has no other opinion, but several texts of one hearing."""
    dialog = DeskDialog()
    said = dialog.say("where is my order for seven one one", "where is my order four seven one one", "")
    assert said == "Did you say order four seven one one?"
    assert dialog.say("no") == "Then please say it again."


def test_two_texts_that_mean_different_things_are_asked_about() -> None:
    """The likelier one is."""
    dialog = DeskDialog()
    said = dialog.say("where is order 4711", "where is order 4710")
    assert said == "Did you say order four seven one one?"


def test_an_alternative_that_means_something_is_better_than_a_text_that_does_not() -> None:
    """It is asked about."""
    dialog = DeskDialog()
    assert dialog.say("wear is mayor der", "where is order 4711") == "Did you say order four seven one one?"


@pytest.mark.parametrize(
    ("certain", "fuller", "asked"),
    [
        ("book december third and to thirty", "book december third at two thirty", "half past two"),
        ("when do you close then", "when do you close today", "on Monday the twenty third"),
        ("but you guys around on sunday", "are you guys around on sunday", "we are open on Sunday"),
        ("opting ours", "what are your opening hours", "our opening hours"),
    ],
)
def test_what_is_certain_and_may_have_been_more_is_asked_about(certain: str, fuller: str, asked: str) -> None:
    """Nothing is told or done on the less. After a no it is what was said, if it means anything."""
    dialog = DeskDialog()
    assert asked in dialog.say(certain, fuller, uncertain=False)
    assert (dialog.acts, dialog.asked_back) == ([], True)


def test_what_was_certain_is_asked_about_after_a_no_to_what_was_more() -> None:
    """Somebody has to say which it was."""
    dialog = DeskDialog()
    dialog.say("when do you close then", "when do you close today", uncertain=False)
    assert dialog.say("no") == "Did you ask for our opening hours?"
    dialog.say("yes")
    assert dialog.acts == ["hours"]


@pytest.mark.parametrize(
    ("certain", "other"),
    [
        ("are you open on friday", "are you open on sunday"),
        ("where is order 4711", "order 4771 tomorrow"),
        ("i wont be able to come on friday", "i want to come on friday at three"),
        ("when do you open", "then do you"),
        ("no thank you", "thank you, where is order 4711"),
    ],
)
def test_what_may_have_been_something_else_stays_what_was_certain(certain: str, other: str) -> None:
    """A less likely text of the same hearing is no second opinion."""
    dialog, alone = DeskDialog(), DeskDialog()
    assert dialog.say(certain, other, uncertain=False) == alone.say(certain)
    assert dialog.acts == alone.acts


def test_what_reads_back_what_it_heard_is_question_enough() -> None:
    """No caller is asked twice about one appointment."""
    dialog = DeskDialog()
    asked = "Shall I book Tuesday the first of December at three in the afternoon?"
    assert dialog.say("book next tuesday at three", uncertain=True) == asked
    assert dialog.asked_back
    assert dialog.say("yes").startswith("Done: ")


@pytest.mark.parametrize(
    ("open_with", "then"),
    [
        (["book next tuesday at three"], "yes"),
        (["book next tuesday at three", "yes", "cancel my appointment"], "yes"),
        (["what are your opening hours"], "no"),
    ],
)
def test_an_uncertain_yes_or_no_changes_nothing(open_with: list[str], then: str) -> None:
    """Whether it was one is asked; a certain one decides."""
    dialog = DeskDialog()
    for text in open_with:
        dialog.say(text)
    before = dialog.slots()
    acts = list(dialog.acts)
    assert dialog.say(then, uncertain=True) == f"Was that a {then}?"
    assert dialog.say("yes", uncertain=True) == f"Was that a {then}?"
    assert (dialog.slots(), dialog.acts, dialog.hung_up) == (before, acts, False)
    dialog.say("yes")
    assert len(dialog.acts) == len(acts) + 1


def test_an_uncertain_yes_to_what_is_only_told_will_do() -> None:
    """In noise every answer may be uncertain; a status that is read out changes nothing."""
    dialog = DeskDialog()
    dialog.say("where is order 4711", uncertain=True)
    assert ORDER in dialog.say("yes", uncertain=True)


def test_a_number_with_a_digit_too_many_is_asked_back() -> None:
    """An ear writes "eight oh eight oh" as 80800."""
    dialog = DeskDialog()
    assert dialog.say("where is order 80800") == "Did you say order eight zero eight zero?"
    assert dialog.acts == []
    assert "waiting for a part" in dialog.say("yes")


def test_a_number_with_a_digit_too_few_is_asked_for_again() -> None:
    """With what was heard of it."""
    dialog = DeskDialog()
    assert "I heard seven one one" in dialog.say("order number seven one one")
    assert ORDER in dialog.say("four seven one one")


def test_what_plays_all_the_time_is_asked_about() -> None:
    """A turn that was cut for its length is uncertain, whatever was understood of it."""
    assert DeskDialog().say(None, was_cut=True).startswith("There is something playing")
    dialog = DeskDialog()
    assert dialog.say("order 4711", was_cut=True) == "Did you say order four seven one one?"


def test_after_a_no_the_other_reading_is_asked_about_and_then_no_more() -> None:
    """Two readings get a question each; then the caller is to say it again."""
    dialog = DeskDialog()
    order = "Did you say order {}?"
    asked = dialog.say("where is order 4711", "where is order 5029", "where is order 1234")
    assert asked == order.format("four seven one one")
    assert dialog.say("no") == order.format("five zero two nine")
    assert dialog.say("no") == "Then please say it again."
    assert dialog.acts == []
    dialog.say("where is order 4711", "where is order 1234")
    assert dialog.say("yes").startswith("Order number one two three four has been delivered.")


def test_the_other_reading_is_acted_on_after_a_yes() -> None:
    """As the first one would have been."""
    dialog = DeskDialog()
    dialog.say("where is order 5029", "where is order 4711")
    dialog.say("no")
    assert ORDER in dialog.say("yes")
    assert dialog.acts == ["order 4711"]


def test_what_was_denied_is_not_asked_about_when_it_is_heard_again_uncertainly() -> None:
    """The caller has said something else then; said for certain it holds."""
    dialog = DeskDialog()
    dialog.say("where is order 4711", uncertain=True)
    dialog.say("no")
    assert dialog.say("my order is 4711", uncertain=True).startswith("I am sorry, I did not understand that.")
    assert dialog.say("where is order 4711", "where is order 5029") == "Did you say order five zero two nine?"
    assert ORDER in dialog.say("no, order 4711")
    assert dialog.memory.readings.denied == ()
    assert dialog.say("where is order 4711", uncertain=True) == "Did you say order four seven one one?"


def test_an_appointment_that_was_read_back_and_denied_is_not_read_back_again() -> None:
    """The other day that it may have been is, and that is all."""
    dialog = DeskDialog()
    shall = "Shall I book {} of December at three in the afternoon?"
    asked = dialog.say("book next tuesday at three", "book next thursday at three")
    assert asked == shall.format("Tuesday the first")
    assert dialog.say("no") == shall.format("Thursday the third")
    assert dialog.say("no") == "Which day and time would suit you?"
    again = dialog.say("next tuesday at three", "next thursday at three")
    assert again.startswith("I am sorry, I did not understand that.")
    assert dialog.say("next tuesday at three") == shall.format("Tuesday the first")


def test_a_day_that_is_denied_with_another_one_beside_it_is_not_asked_about_again() -> None:
    """Wednesday, heard uncertainly after a no, is a question; the day before it is none any more."""
    dialog = DeskDialog()
    dialog.say("are you open on tuesday", uncertain=True)
    assert "Wednesday" in dialog.say("no, are you open on wednesday", uncertain=True)
    assert dialog.say("no") == "Then please say it again."
    assert dialog.say("are you open on tuesday", uncertain=True).startswith("I am sorry")


def test_a_question_back_is_said_again_and_stays_open() -> None:
    """To "pardon?"; and a yes then is one to it."""
    dialog = DeskDialog()
    asked = dialog.say("where is order 5029", "where is order 4711")
    assert dialog.say("pardon?") == asked
    assert dialog.say("no") == "Did you say order four seven one one?"
    assert ORDER in dialog.say("yes")


def test_an_offer_is_said_again_with_what_else_it_may_have_been() -> None:
    """And that is asked about after a no."""
    dialog = DeskDialog()
    asked = dialog.say("book next tuesday at three", "book next thursday at three")
    assert dialog.say("pardon?") == asked
    assert "Thursday" in dialog.say("no")


def test_no_to_was_that_a_yes_is_a_no() -> None:
    """It answers what is open."""
    dialog = DeskDialog()
    dialog.say("book next tuesday at three")
    assert dialog.say("yes", uncertain=True) == "Was that a yes?"
    assert dialog.say("no") == "Which day and time would suit you?"
    assert dialog.slots() == []


def test_no_to_was_that_a_no_is_asked_about_again() -> None:
    """Only what names something is not asked about twice: it could be said again in no other way."""
    dialog = DeskDialog()
    dialog.say("book next tuesday at three")
    for _ in range(2):
        assert dialog.say("no", uncertain=True) == "Was that a no?"
        assert dialog.say("no") == "Then please say it again."
    dialog.say("no", uncertain=True)
    assert dialog.say("yes") == "Which day and time would suit you?"
    again = dialog.say("next tuesday at three", uncertain=True)
    assert again.startswith("I am sorry"), "the offer got a no, by way of a question"


def test_a_number_with_a_digit_too_many_is_asked_about_once() -> None:
    """Heard so again after a no, it is asked for anew."""
    dialog = DeskDialog()
    dialog.say("where is order 80800")
    dialog.say("no")
    assert "Please say it again." in dialog.say("where is order 80800")


def test_a_name_that_was_denied_is_not_read_back_again() -> None:
    """What else it may have been is."""
    dialog = DeskDialog()
    for text in ("a person, please", "yes"):
        dialog.say(text)
    assert "Smith" in dialog.say("smith", uncertain=True)
    assert dialog.say("no") == "Then please spell your name, letter by letter."
    assert "Smit," in dialog.say("smith", "smit")


@settings(max_examples=100)
@given(st.lists(st.lists(st.sampled_from(READINGS), min_size=1, max_size=4, unique=True), max_size=8))
def test_no_question_is_asked_again_after_a_no(turns: list[list[str]]) -> None:
    """However often, and among whatever else, an ear hears it uncertainly."""
    dialog = DeskDialog()
    denied: set[str] = set()
    for readings in turns:
        asked = dialog.say(*readings, uncertain=True)
        while dialog.asked_back and asked.startswith(("Did", "Would you", "Shall")):
            assert asked not in denied
            denied.add(asked)
            asked = dialog.say("no")


WORDS = (
    "order 4711 5029 where is my book cancel yes no tuesday at three thanks bye person hours repeat 80800 it".split()
)
TEXTS = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)


@settings(max_examples=150)
@given(st.lists(st.tuples(TEXTS, st.lists(TEXTS, max_size=2)), max_size=6))
def test_nothing_uncertain_is_ever_acted_on(turns: list[tuple[str, list[str]]]) -> None:
    """Whatever is heard uncertainly: no appointment, no call ended, and only what was asked back first is told."""
    dialog = DeskDialog()
    for text, alternatives in turns:
        asked_back = dialog.asked_back
        acts = len(dialog.acts)
        same = {" ".join(each.split()) for each in alternatives} == {" ".join(text.split())}
        if same:
            continue
        dialog.say(text, *alternatives, uncertain=True)
        if not alternatives:
            assert len(dialog.acts) == acts or asked_back
            assert not dialog.hung_up
            assert all(act.split()[0] in ("order", "hours", "mine") for act in dialog.acts[acts:])
