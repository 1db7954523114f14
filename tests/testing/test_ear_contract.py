"""The contract of ears finds what is wrong with one, and lets those pass that keep it."""

from __future__ import annotations

import inspect

import pytest

from tests.testing import wrong_ears
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.testing import EarContract, ear_contract, provider_trials
from voice_agent.testing.spoken_words import speech_of

WRONG = wrong_ears.__name__
WORDS = "next tuesday"


class WordContract(EarContract):
    """Of ears that understand speech that carries its words."""

    says = WORDS

    def clip(self) -> Clip:
        return Clip(speech_of(WORDS), PCM)


class TestGoodEar(WordContract):
    made_by = f"{WRONG}:GoodEar"


class TestGoodStreamingEar(WordContract):
    made_by = f"{WRONG}:GoodStreamingEar"


class TestWordEar(EarContract):
    """On the recording of somebody who speaks without such words: it is not known what they are."""

    made_by = "voice_agent.testing.spoken_words:WordEar"


@pytest.mark.parametrize(
    ("ear", "promise"),
    [
        ("Deaf", "it_is_well_formed"),
        ("OpensOnce", "it_opens_and_closes"),
        ("Mishearing", "it_opens_and_closes"),
        ("InBytes", "it_opens_and_closes"),
        ("HearsGhosts", "it_hears_nothing_in_silence"),
        ("OneFormat", "it_hears_any_format_and_length"),
        ("NeverShort", "it_hears_any_format_and_length"),
        ("Mixing", "utterances_at_once_are_heard_as_alone"),
        ("NeverSure", "it_hears_frames"),
        ("NothingOfNothing", "it_hears_frames"),
        ("Swallowing", "it_can_be_cancelled_wherever_it_waits"),
        ("EndingSlowly", "it_can_be_cancelled_wherever_it_waits"),
        ("Locked", "it_can_be_cancelled_wherever_it_waits"),
        ("GoesOn", "it_can_be_closed_while_the_caller_goes_on"),
        ("Blocking", "it_never_blocks"),
    ],
)
async def test_a_wrong_ear_is_found(monkeypatch: pytest.MonkeyPatch, ear: str, promise: str) -> None:
    """By the promise that it breaks."""
    for module in (provider_trials, ear_contract):
        monkeypatch.setattr(module, "ENDS_WITHIN_S", 0.05)
    if ear == "Locked":  # It is waited for that long.
        monkeypatch.setattr(ear_contract, "LASTS_AT_MOST_S", 0.2)

    class Contract(WordContract):
        made_by = f"{WRONG}:{ear}"

    with pytest.raises((AssertionError, RuntimeError, TimeoutError)):
        found = getattr(Contract(), f"test_{promise}")()
        if inspect.isawaitable(found):
            await found
