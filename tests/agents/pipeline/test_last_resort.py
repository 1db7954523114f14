"""What a caller hears when no model answers."""

from __future__ import annotations

import wave
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.agents.pipeline.models import Models
from tests.doubles.faults import Fault
from tests.doubles.provider import Provider
from voice_agent.agents.pipeline.settings import APOLOGY
from voice_agent.kit.clip import VoicedAudio
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
