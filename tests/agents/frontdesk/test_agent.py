"""The front desk on a call; tests of `desk` and `memory`, too."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.agents.frontdesk.dialogs import at, message, spoken, typed
from tests.kit.recording_call import RecordingCall, asked
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.agents.frontdesk.agent import FrontDeskSettings
from voice_agent.agents.frontdesk.interruptions import sentences
from voice_agent.agents.frontdesk.language import language_of
from voice_agent.call.audio import PCM
from voice_agent.call.said_by_caller import said_since_last_reply
from voice_agent.kit.agent import Kit
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Asked

GREETING = language_of("en").say("greeting")


def asks(*items: Any, number: int = 1) -> Asked:
    """A reply to these items is due, on a Monday."""
    said = said_since_last_reply(items)
    return asked(*items, number=number, at_ms=at(), text=said.text, unclear=said.unclear)


async def test_a_reply_is_said_sentence_by_sentence() -> None:
    """So that the first is heard early."""
    call = RecordingCall(asks(spoken("are you open on tuesday")))
    await FrontDesk().run(call)
    [texts] = call.texts
    assert len(texts) > 1
    assert "".join(texts).startswith("On Tuesday the twenty fourth of November, we are open from nine")


async def test_what_one_turn_leaves_behind_is_all_that_the_next_one_needs() -> None:
    """It is kept with the acknowledgement, and survives JSON."""
    first = RecordingCall(asks(spoken("book an appointment next tuesday")))
    await FrontDesk().run(first)
    second = RecordingCall(asks(spoken("at three")), state=first.stored)
    await FrontDesk().run(second)
    assert second.texts[0][0].startswith("Shall I book Tuesday the first of December at three in the afternoon?")
    third = RecordingCall(asks(spoken("yes")), state=second.stored)
    await FrontDesk().run(third)
    assert third.texts[0][0].startswith("Done:")
    assert third.stored["appointments"]


async def test_a_reply_is_decided_once() -> None:
    """On another pod the decision is followed, whatever the conversation says now."""
    decided: dict[str, Any] = {}

    class Deciding(RecordingCall):
        async def once(self, key: str, run: Any) -> Any:
            decided[key] = await super().once(key, run)
            return decided[key]

    first = Deciding(asks(spoken("goodbye")))
    await FrontDesk().run(first)
    again = RecordingCall(asks(spoken("next tuesday")), results=decided)
    await FrontDesk().run(again)
    assert again.texts == first.texts
    assert again.acts == first.acts
    assert again.stored == first.stored


async def test_goodbye_ends_with_hanging_up() -> None:
    """After everything was said."""
    call = RecordingCall(asks(spoken("goodbye")))
    await FrontDesk().run(call)
    assert call.texts == [["Thank you for calling. ", "Goodbye."]]
    assert call.acts == [("hang_up", "")]


async def test_what_an_interrupted_reply_decided_is_remembered() -> None:
    """The caller has heard enough of it."""
    asked_first = RecordingCall(asks(spoken("next tuesday at three")))
    await FrontDesk().run(asked_first)
    call = RecordingCall(asks(spoken("yes")), state=asked_first.stored, interrupted_after=1)
    await FrontDesk().run(call)
    assert call.stored["appointments"]


@pytest.mark.parametrize(
    ("items", "begins"),
    [
        ((), GREETING),
        ((message("system", type="input_text", text="be kind"),), GREETING),
        (({"type": "function_call_output", "call_id": "c", "output": "42"},), GREETING),
        ((spoken(None),), "I am sorry, I did not understand that."),
        ((spoken(""),), "I did not hear anything."),
        ((spoken(None), typed("tomorrow at ten")), "Shall I book"),
        ((typed("book an appointment"), typed("tomorrow"), typed("at ten")), "Shall I book"),
        ((typed("tomorrow at ten"), message("assistant", type="output_text", text="ok")), GREETING),
    ],
)
async def test_what_is_answered(items: tuple[dict[str, object], ...], begins: str) -> None:
    """The caller's words since the last reply, joined; nothing said is greeted; tools are passed over."""
    call = RecordingCall(asks(*items))
    await FrontDesk().run(call)
    assert "".join(call.texts[0]).startswith(begins)


@given(st.text())
def test_sentences_joined_are_the_text(text: str) -> None:
    """Cutting loses nothing."""
    assert "".join(sentences(text)) == text


async def test_an_uncertain_turn_is_asked_back() -> None:
    """What its ear doubts comes with the turn."""
    items = (spoken("where is order 4711"),)
    said = said_since_last_reply(items)
    event = asked(*items, at_ms=at(), text=said.text, uncertain=True, alternatives=("where is order 4710",))
    call = RecordingCall(event)
    await FrontDesk().run(call)
    assert call.texts == [["Did you say order four seven one one?"]]


@pytest.mark.parametrize(("clip_ms", "begins"), [(1_500, "Order number"), (2_500, "I am sorry")])
async def test_a_short_sound_into_an_answer_does_not_stop_it(clip_ms: int, begins: str) -> None:
    """Nothing was understood of it; how long it took is told by its clip, with the silence around it."""
    first = RecordingCall(asks(spoken("where is order 4711")))
    await FrontDesk().run(first)
    heard = message("assistant", type="output_audio", transcript="Order number four")
    items = (spoken("where is order 4711"), heard, spoken(None))
    clip = Clip(bytes(48 * clip_ms), PCM)
    call = RecordingCall(asked(*items, at_ms=at(), unclear=True, clip=clip), state=first.stored)
    await FrontDesk().run(call)
    assert call.texts[0][0].startswith(begins)


async def test_a_person_is_transferred_to() -> None:
    """After it was said; the settings name whom, and speak the language."""
    agent = FrontDesk()
    await agent.open(Kit(settings=FrontDeskSettings(person="tel:+4930123", language="de", time_zone="Europe/Berlin")))
    assert agent.language == "de", "its ear and its voice are told"
    call = RecordingCall(asks(spoken("einen Menschen bitte")))
    await agent.run(call)
    assert call.texts == [["Ich verbinde Sie. ", "Einen Moment, bitte."]]
    assert call.acts == [("transfer", "tel:+4930123")]


@pytest.mark.parametrize("wrong", [{"language": "tlh"}, {"time_zone": "Mars/Phobos"}, {"colour": "blue"}])
def test_wrong_settings_are_refused(wrong: dict[str, str]) -> None:
    """At the start."""
    with pytest.raises(ValidationError):
        FrontDeskSettings(**wrong)


@pytest.mark.parametrize(
    ("text", "sure"),
    [
        ("where is my order four seven", 0.0),
        ("my order number is 4 7 1", 0.0),
        ("where is my order for 7-1-1", 1.0),
        ("order 4711", 1.0),
        ("where is my order", None),
        ("order four seven, please", None),
        ("Where is my order 4711.", 1.0),
        ("Where is my order, number 4 7?", 0.0),
        ("four seven one one", 1.0),
        ("four seven", None),
        ("at three", None),
        (f"order {'and so on ' * 30} four seven", None),
        ("", None),
    ],
)
def test_an_order_number_goes_on_until_it_has_four_digits(text: str, sure: float | None) -> None:
    """Who pauses in it is waited for; of anything else the words decide."""
    assert FrontDesk().is_finished(text, "en") == sure


def test_an_order_number_goes_on_in_german_too() -> None:
    """By the words of its language, which English has none of."""
    assert FrontDesk().is_finished("wo ist meine Bestellung vier sieben", "de-DE") == 0.0
    assert FrontDesk().is_finished("wo ist meine Bestellung vier sieben eins eins", "de-DE") == 1.0
