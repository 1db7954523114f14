"""What a caller hears when no model answers."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.agents.pipeline.models import Models
from tests.doubles.faults import Fault
from tests.doubles.provider import Provider
from tests.kit.recording_call import RecordingCall
from voice_agent.agents.pipeline.last_resort import LastResort
from voice_agent.agents.pipeline.settings import APOLOGY, LastResortSettings
from voice_agent.kit.call import Call
from voice_agent.kit.clip import VoicedAudio
from voice_agent.kit.tools import Tool, ToolError
from voice_agent.kit.voice import Utterance, Voice
from voice_agent.testing.script import Press, ScriptStep, Type
from voice_agent.testing.simulate import Surroundings, simulate, survives

OFFER = "Say yes. "
PERSON = {"person": "sip:desk@example.com", "person_offer": OFFER, "putting_through": "Wait. "}


def failing() -> Models:
    provider = Provider()
    provider.faults.always("chat", Fault("status", status=400))
    return Models(provider)


def test_the_caller_hears_an_apology_and_the_call_lives() -> None:
    """The next turn is answered."""
    provider = Provider()
    provider.faults.add("chat", Fault("status", status=400))
    models = Models(provider)
    run = simulate(models.agent, [Type("hello"), Type("again")], surroundings=models.around())
    assert run.text == f"{APOLOGY} You said: again"
    assert run.errors == []


def test_where_a_person_is_set_the_caller_may_say_yes() -> None:
    """And is put through, whether a model answers by then or not."""
    script = [Type("hello"), Type("Yes, please.")]
    run = survives(failing().agent, script, surroundings=failing().around(**PERSON), every=3)
    assert run.text == f"{APOLOGY} {OFFER}Wait. "
    assert run.ended == "transferred"
    assert [event["target"] for event in run.agent_events if event["type"] == "call.transfer"] == [PERSON["person"]]


def test_or_press_a_key() -> None:
    """Another key does nothing, and no key does before the offer."""
    script: list[ScriptStep] = [Press("1"), Type("hello"), Press("2"), Press("1")]
    run = simulate(failing().agent, script, surroundings=failing().around(**PERSON))
    assert run.text == f"{APOLOGY} {OFFER}Wait. "
    assert run.ended == "transferred"


def test_the_offer_is_for_the_next_turn_only() -> None:
    """A yes to something else is none to that."""
    provider = Provider()
    provider.faults.add("chat", Fault("status", status=400))
    models = Models(provider)
    run = simulate(models.agent, [Type("hello"), Type("well"), Type("yes")], surroundings=models.around(**PERSON))
    assert run.text == f"{APOLOGY} {OFFER}You said: wellYou said: yes"


class Mute(Voice):
    """Says nothing."""

    name = "mute"

    async def say(self, utterance: Utterance) -> AsyncIterator[VoicedAudio]:
        raise ConnectionError("it is gone")
        yield  # A generator.


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    path = tmp_path / "sorry.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(24_000)
        file.writeframes(b"\1\2" * 2_400)
    return path


def test_the_recording_is_heard_when_the_voice_is_gone_too(recorded: Path) -> None:
    """Without one, the server apologises with its own."""
    models = Models()
    around = models.around(apology_audio=recorded)
    run = simulate(models.agent, [Type("hello")], surroundings=Surroundings(settings=around.settings, voice=Mute))
    assert b"\1\2" * 2_400 in run.audio
    assert run.replies[0].text.endswith(f"{APOLOGY} ")
    plain = Surroundings(settings=models.around().settings, voice=Mute)
    run = simulate(models.agent, [Type("hello")], surroundings=plain)
    assert run.faults["raised"] == 1
    assert run.ended == "hangup"


class CallBack(Tool):
    """Has callers called back, or not."""

    def __init__(self, *, fails: bool) -> None:
        super().__init__(name="call_back", parameters={"type": "object"})
        self.fails = fails
        self.numbers: list[str] = []

    async def run(self, call: Call, arguments: Mapping[str, Any], idempotency_key: str) -> Any:
        if self.fails:
            raise ToolError("nobody is there")
        self.numbers.append(arguments["number"])
        return None


@pytest.mark.parametrize(("fails", "said"), [(False, "Soon. "), (True, APOLOGY)])
async def test_the_caller_may_want_to_be_called_back(fails: bool, said: str) -> None:
    """By a word or a key; where that fails, too, they hear it."""
    tool = CallBack(fails=fails)
    resort = LastResort(LastResortSettings(calling_back="Soon. "), tool)
    call = RecordingCall()
    await resort.apologise(call, wants_audio=True)
    assert call.texts[-1] == [f"{APOLOGY} ", "To be called back, press two."]
    assert not await resort.taken_by_key(call, "1")
    assert await resort.taken_by_key(call, "2")
    assert call.texts[-1] == [said]
    assert tool.numbers == ([] if fails else [""])
    again = RecordingCall(state=call.state)
    assert await resort.taken_by_word(again, "Okay!")
    assert not await resort.taken_by_word(again, "Okay!")


def test_what_is_set_for_calling_back_is_whole() -> None:
    """Its requests are signed."""
    with pytest.raises(ValueError, match="CALL_BACK_SECRET"):
        LastResortSettings(call_back="https://example.com/back")
    found = LastResortSettings(call_back="https://example.com/back", call_back_secret=SecretStr("whsec_" + "QUFB" * 8))
    assert found.call_back_webhook is not None
    assert LastResortSettings().call_back_webhook is None
