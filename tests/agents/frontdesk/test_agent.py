"""The front desk on a call; tests of `desk` and `memory`, too."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from tests.agents.frontdesk.dialogs import message, parts_of, spoken, turn, typed
from voice_agent.agents.base import Audio, HangUp, Plan, Progress, Text
from voice_agent.agents.frontdesk import FrontDesk
from voice_agent.agents.frontdesk.agent import sentences
from voice_agent.agents.frontdesk.dialog import GREETING
from voice_agent.call.audio import PCM
from voice_agent.speech.synthesis import speak
from voice_agent.speech.workers import SpeechWorkers


@pytest_asyncio.fixture
async def desk() -> AsyncIterator[FrontDesk]:
    agent = FrontDesk(SpeechWorkers(1))
    await agent.open()
    yield agent
    await agent.close()


async def test_a_reply_is_planned_then_spoken_sentence_by_sentence(desk: FrontDesk) -> None:
    """First the decision, then each sentence's text right before its audio."""
    plan, *said = await parts_of(desk, turn(spoken("next tuesday at three"), voice="coral"))
    assert isinstance(plan, Plan)
    texts, audios = said[0::2], said[1::2]
    assert [type(part) for part in said] == [Text, Audio] * len(texts)
    assert "".join(part.delta for part in texts if isinstance(part, Text)) == plan.plan["text"]
    assert len(texts) > 1
    spoken_texts = [speak(part.delta, "coral") for part in texts if isinstance(part, Text)]
    assert audios == [Audio(said.audio, PCM, said.words) for said in spoken_texts]


async def test_plan_and_state_survive_json_and_carry_the_talk(desk: FrontDesk) -> None:
    """What one turn leaves behind is all that the next one needs."""
    first, *_ = await parts_of(desk, turn(spoken("book an appointment next tuesday"), wants_audio=False))
    assert isinstance(first, Plan)
    state = json.loads(json.dumps(first.state))
    second, *_ = await parts_of(desk, turn(spoken("at three"), wants_audio=False, state=state))
    assert isinstance(second, Plan)
    assert second.plan["text"].startswith("Done: Tuesday the first of December at three in the afternoon.")


async def test_a_planned_reply_is_spoken_again_and_not_decided_again(desk: FrontDesk) -> None:
    """After a crash the plan is followed, whatever the conversation says now; the parts are the same."""
    asked = turn(spoken("goodbye"))
    plan, *said = await parts_of(desk, asked)
    assert isinstance(plan, Plan)
    again = turn(spoken("next tuesday"), progress=Progress(plan.plan, "Thank", 960))
    assert await parts_of(desk, again) == said


async def test_goodbye_ends_with_hanging_up(desk: FrontDesk) -> None:
    """After everything was said."""
    parts = await parts_of(desk, turn(spoken("goodbye"), wants_audio=False))
    assert isinstance(parts[-1], HangUp)
    assert not any(isinstance(part, Audio) for part in parts)


@pytest.mark.parametrize(
    ("items", "begins"),
    [
        ((), GREETING),
        ((message("system", type="input_text", text="be kind"),), GREETING),
        (({"type": "function_call_output", "call_id": "c", "output": "42"},), GREETING),
        ((spoken(None),), "I am sorry, I did not understand that."),
        ((spoken(""),), "I did not hear anything."),
        ((spoken(None), typed("tomorrow at ten")), "Done:"),
        ((typed("book an appointment"), typed("tomorrow"), typed("at ten")), "Done:"),
        ((typed("tomorrow at ten"), message("assistant", type="output_text", text="ok")), GREETING),
    ],
)
async def test_what_is_answered(items: tuple[dict[str, object], ...], begins: str) -> None:
    """The caller's words since the last reply, joined; nothing said is greeted; tools are passed over."""
    desk = FrontDesk(SpeechWorkers(1))
    parts = await parts_of(desk, turn(*items, wants_audio=False))
    assert "".join(part.delta for part in parts if isinstance(part, Text)).startswith(begins)


@given(st.text())
def test_sentences_joined_are_the_text(text: str) -> None:
    """Cutting loses nothing."""
    assert "".join(sentences(text)) == text
