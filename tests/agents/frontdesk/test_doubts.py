"""What is uncertain is asked back, and nothing is done on it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import DeskDialog

ORDER = "Order number four seven one one was shipped"


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


def test_two_texts_that_mean_the_same_are_certain() -> None:
    """Ears may disagree about words, and agree about what was meant."""
    dialog = DeskDialog()
    assert ORDER in dialog.say("where is my order for seven one one", "where is my order four seven one one")


def test_two_texts_that_mean_different_things_are_asked_about() -> None:
    """The likelier one is."""
    dialog = DeskDialog()
    said = dialog.say("where is order 4711", "where is order 4710")
    assert said == "Did you say order four seven one one?"


def test_an_alternative_that_means_something_is_better_than_a_text_that_does_not() -> None:
    """It is asked about."""
    dialog = DeskDialog()
    assert dialog.say("wear is mayor der", "where is order 4711") == "Did you say order four seven one one?"


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
