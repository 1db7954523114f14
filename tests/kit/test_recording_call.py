"""The call that tests of agents work with keeps the rules that agents rely on."""

from __future__ import annotations

import pytest

from tests.kit.recording_call import RecordingCall, asked
from voice_agent.call.audio import PCM
from voice_agent.kit.call import KeyReused
from voice_agent.kit.events import Started
from voice_agent.kit.speech import SpeechInterrupted, Spoken


async def test_asking_for_the_next_event_acknowledges_the_one_before_it() -> None:
    """With the state as it is then; the last one as well."""
    call = RecordingCall(Started(number=1, at_ms=0), asked(number=2), state={"n": 0})
    async for event in call.events():
        assert call.acknowledged == list(range(1, event.number))
        assert call.stored == {"n": event.number - 1}
        call.state["n"] = event.number
    assert call.acknowledged == [1, 2]
    assert call.stored == {"n": 2}


async def test_a_key_is_good_for_one_act_of_an_event() -> None:
    """In the next event it is another one."""
    call = RecordingCall(asked(number=1), asked(number=2))
    async for _event in call.events():
        async with call.speak():
            pass
        with pytest.raises(KeyReused):
            async with call.speak():
                pass


async def test_a_result_that_is_known_is_given_and_not_made_again() -> None:
    """One that is not known is made under a key, and known from then on."""
    keys: list[str] = []

    async def run(key: str) -> list[int]:
        keys.append(key)
        return [len(keys)]

    call = RecordingCall(asked(), results={"known": "result"})
    assert await call.once("known", run) == "result"
    assert await call.once("new", run) == [1]
    assert keys == ["key of new"]
    assert call.results["new"] == [1]


async def test_a_speech_is_interrupted_where_the_test_says() -> None:
    """After so many pieces, of text or audio; `said` is found by the first event only."""
    call = RecordingCall(said=[Spoken("One. ", 10, is_complete=True)], interrupted_after=2)
    async with call.speak() as speech:
        assert [piece.text for piece in speech.said] == ["One. "]
        await speech.text("One. ")
        await speech.audio(b"\0\0", PCM, text="Two. ")
        with pytest.raises(SpeechInterrupted):
            await speech.text("Three. ")
    assert call.texts == [["One. "]]
    assert call.speeches[0].audios == [(b"\0\0", PCM, "Two. ")]
