"""Who speaks into an answer, or only listens: it goes on, and nothing is agreed to that was not asked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import DeskDialog
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.agents.frontdesk.interruptions import sentences
from voice_agent.testing.script import BargeIn, ScriptStep
from voice_agent.testing.simulate import survives

HOURS = "Order number four seven one one was shipped yesterday and will be with you tomorrow. "
MORE = "Is there anything else I can do for you?"
BOOK = "Shall I book Tuesday the first of December at three in the afternoon?"


def told() -> DeskDialog:
    """An order was told, and whether there is anything else was asked."""
    dialog = DeskDialog()
    assert dialog.say("where is order 4711") == HOURS + MORE
    return dialog


def offered() -> DeskDialog:
    """Hours were told, and then an appointment was read back."""
    dialog = DeskDialog()
    answer = dialog.say("are you open on tuesday, and can I come next tuesday at three")
    assert answer.endswith(BOOK)
    return dialog


@pytest.mark.parametrize("text", ["mhm", "Uh-huh.", "okay", "I see", "Oh, right.", "yes"])
def test_an_answer_goes_on_where_a_listener_cut_it(text: str) -> None:
    """From the beginning of that sentence, to its end; a second time, too."""
    dialog = told()
    assert dialog.say(text, heard="Order number four seven") == HOURS + MORE
    assert dialog.say(text, heard=HOURS + "Is there") == MORE
    assert dialog.say(text, heard="Is") == MORE
    assert dialog.acts == ["order 4711"]
    assert dialog.say("pardon?", heard=MORE) == HOURS + MORE, "what was said last is all of it"


def test_nothing_is_agreed_to_that_was_not_asked_yet() -> None:
    """Neither by a listener nor by a yes: it is read back, and then a yes holds."""
    dialog = offered()
    for text in ("okay", "yes", "sure, fine", "mhm"):
        assert BOOK in dialog.say(text, heard="On Tuesday the twenty fourth of")
        assert dialog.slots() == []
    assert dialog.say("yes, please", heard=BOOK).startswith("Done: ")


def test_a_yes_before_the_last_words_of_a_question_is_one() -> None:
    """Who knows how it ends does not wait for it."""
    dialog = offered()
    dialog.say("mhm", heard="On Tuesday")
    heard = "Shall I book Tuesday the first of December at three in"
    assert dialog.say("okay", heard=dialog.memory.said.text[: dialog.memory.said.text.index(BOOK)] + heard).startswith(
        "Done: "
    )


def test_a_yes_in_the_middle_of_a_question_is_none() -> None:
    """What is going to be done is read back to its end first."""
    dialog = offered()
    begin = dialog.memory.said.text[: dialog.memory.said.text.index(BOOK)]
    assert dialog.say("yes", heard=begin + "Shall I book Tuesday the") == BOOK
    assert dialog.slots() == []


def test_a_no_before_the_question_ends_no_call() -> None:
    """It is asked, and then a no holds."""
    dialog = told()
    assert dialog.say("no", heard="Order number four") == MORE
    assert not dialog.hung_up
    dialog.say("no", heard=MORE)
    assert dialog.hung_up


def test_a_no_before_a_question_back_asks_it() -> None:
    """The same one."""
    dialog = DeskDialog()
    question = dialog.say("where is order 4711", uncertain=True)
    assert dialog.say("no", heard="Did") == question
    assert dialog.say("no", heard=question) == "Then please say it again."


def test_a_wish_into_an_answer_is_answered() -> None:
    """Whatever was heard of it."""
    dialog = told()
    assert dialog.say("okay, and when do you close tomorrow", heard="Order number").startswith("On Tuesday")
    assert dialog.say("where is order 5029", heard="On").startswith("Order number five zero two nine")


def test_a_short_sound_into_an_answer_is_none() -> None:
    """A cough: it goes on. What is longer was said to the desk, and was not understood."""
    dialog = told()
    for text in (None, ""):
        assert dialog.say(text, heard="Order", is_short=True) == HOURS + MORE
    assert dialog.say(None, heard="Order").startswith("I am sorry, I did not understand that.")


def test_what_may_be_a_listeners_word_does_not_stop_an_answer() -> None:
    """One ear heard it, and the other one more: nothing would be done on that anyway."""
    dialog = told()
    assert dialog.say("mama", "Mm-hmm.", heard="Order") == HOURS + MORE


def test_what_is_certain_is_no_listeners_word_for_what_else_it_may_have_been() -> None:
    """It was said to the desk."""
    dialog = told()
    answer = dialog.say("Where is order 5029?", "Mm-hmm.", uncertain=False, heard="Order")
    assert answer.startswith("Order number five zero two nine")


def test_a_short_sound_after_an_answer_may_be_the_callers_answer() -> None:
    """It was not understood."""
    dialog = told()
    assert dialog.say(None, heard=HOURS + MORE, is_short=True).startswith("I am sorry")


def test_who_only_listens_is_waited_for() -> None:
    """Where it answers no question, silence is the answer; and the question stays open."""
    dialog = DeskDialog()
    question = dialog.say("I want to book an appointment")
    assert dialog.say("mhm", heard=question) == ""
    assert dialog.say("okay", heard=question) == ""
    assert dialog.memory.unclear == 0
    assert "What time" in dialog.say("tuesday", heard=question)


def test_a_listeners_word_after_the_question_is_a_yes() -> None:
    """As ever."""
    dialog = offered()
    assert dialog.say("mhm", heard=dialog.memory.said.text).startswith("Done: ")


def test_a_good_bye_that_was_cut_still_hangs_up() -> None:
    """What was to follow the answer follows what is left of it."""
    dialog = told()
    dialog.say("no thank you", heard=HOURS + MORE)
    assert dialog.say("okay", heard="Thank you") == "Thank you for calling. Goodbye."
    assert dialog.hung_up


def test_a_transfer_that_was_cut_is_made() -> None:
    """To the same person."""
    dialog = DeskDialog(person="tel:+1")
    dialog.say("a person please")
    dialog.say("mhm", heard="I am")
    assert dialog.transfer == "tel:+1"


def test_what_was_heard_of_another_answer_says_nothing() -> None:
    """The release before does not remember what it said; nor is all heard where that is not known."""
    dialog = told()
    for heard in (None, "Hello, this", HOURS + MORE + " And more."):
        assert dialog.say("okay", heard=heard) == "What can I do for you?"


def test_german_listeners_are_listeners() -> None:
    """Their words are in the file of their language."""
    dialog = DeskDialog(language="de")
    answer = dialog.say("wo ist meine bestellung 4711")
    assert dialog.say("ach so", heard="Die Bestellung") == answer
    assert dialog.say("ja", heard="Die Bestellung") == answer


def test_a_call_goes_on_whatever_becomes_of_its_pod() -> None:
    """The caller only listens, and the answer is said to its end; a pod that dies changes no word of it."""
    script: list[ScriptStep | str] = [
        "where is order 4711",
        BargeIn("mhm", after_ms=1500),
        "I want to book an appointment",
        "mhm",
    ]
    run = survives(FrontDesk, script, every=41)
    answers = [reply.text for reply in run.replies]
    assert answers == ["Order number four seven", HOURS + MORE, "Which day would suit you?", ""]


@settings(max_examples=60)
@given(st.lists(st.floats(0, 0.99), max_size=6))
def test_all_of_an_answer_is_heard_in_the_end(cuts: list[float]) -> None:
    """However often it is cut: it goes on with a whole sentence, at or before the first word that was not heard."""
    dialog = told()
    whole, begun = HOURS + MORE, 0
    for cut in cuts:
        rest = whole[begun:]
        heard = rest[: int(cut * len(rest))]
        if len(rest) - len(heard) < 0.3 * len(MORE):
            return  # The question was asked.
        answer = dialog.say("mhm", heard=heard)
        assert whole.endswith(answer)
        assert len(whole) - len(answer) <= begun + len(heard)
        assert sentences(answer) == sentences(whole)[-len(sentences(answer)) :]
        begun = len(whole) - len(answer)
