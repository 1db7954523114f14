"""The contract of voices finds what is wrong with one, and lets those pass that keep it.

Tests of `provider_trials`, too.
"""

from __future__ import annotations

import inspect

import pytest

from tests.testing import wrong_voices
from voice_agent.kit.voice import VoiceFailed
from voice_agent.runtime.engine import voicing
from voice_agent.testing import VoiceContract, provider_trials, voice_contract

WRONG = wrong_voices.__name__


class TestGoodVoice(VoiceContract):
    made_by = f"{WRONG}:GoodVoice"


class TestWaveringVoice(VoiceContract):
    made_by = f"{WRONG}:Wavering"


class TestWordVoice(VoiceContract):
    made_by = "voice_agent.testing.spoken_words:WordVoice"


@pytest.mark.parametrize(
    ("voice", "promise"),
    [
        ("Mute", "it_is_well_formed"),
        ("OpensOnce", "it_opens_and_closes"),
        ("ClosesOnce", "it_opens_and_closes"),
        ("Brief", "it_opens_and_closes"),
        ("LettersOnly", "it_says_any_text_with_any_name_at_any_speed"),
        ("OneName", "it_says_any_text_with_any_name_at_any_speed"),
        ("NormalSpeed", "it_says_any_text_with_any_name_at_any_speed"),
        ("HalfSamples", "it_says_any_text_with_any_name_at_any_speed"),
        ("WordsBackwards", "it_opens_and_closes"),
        ("Mixing", "sentences_at_once_are_said_as_alone"),
        ("Drifting", "one_that_is_deterministic_says_the_same_again"),
        ("OfItsProcess", "one_that_is_deterministic_says_the_same_in_another_process"),
        ("Swallowing", "it_can_be_cancelled_wherever_it_waits"),
        ("EndingSlowly", "it_can_be_cancelled_wherever_it_waits"),
        ("Locked", "it_can_be_cancelled_wherever_it_waits"),
        ("Unclosable", "it_can_be_closed_behind_any_piece"),
        ("Stuck", "it_can_be_closed_behind_any_piece"),
        ("Blocking", "it_never_blocks"),
    ],
)
async def test_a_wrong_voice_is_found(monkeypatch: pytest.MonkeyPatch, voice: str, promise: str) -> None:
    """By the promise that it breaks."""
    for module in (provider_trials, voice_contract):
        monkeypatch.setattr(module, "ENDS_WITHIN_S", 0.05)
    monkeypatch.setattr(voicing, "VOICE_SILENT_S", 0.2)

    class Contract(VoiceContract):
        made_by = f"{WRONG}:{voice}"

    with pytest.raises((AssertionError, RuntimeError, VoiceFailed)):
        found = getattr(Contract(), f"test_{promise}")()
        if inspect.isawaitable(found):
            await found
