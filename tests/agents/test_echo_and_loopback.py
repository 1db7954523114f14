"""Tests of `echo` and `loopback`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.agents.frontdesk.dialogs import message, spoken, typed
from tests.kit.recording_call import RecordingCall, asked
from voice_agent.agents.echo import Echo
from voice_agent.agents.loopback import Loopback
from voice_agent.call.audio import PCM, PCMU
from voice_agent.kit.clip import Clip
from voice_agent.kit.events import Heard, Started


async def audios(*items: Any, **asks: Any) -> list[Any]:
    """What the echo says when it is asked."""
    call = RecordingCall(Started(number=1, at_ms=0), asked(*items, number=2, **asks))
    await Echo().run(call)
    assert call.acknowledged == [1, 2]
    assert not any(call.texts)
    return [audio for speech in call.speeches for audio in speech.audios]


@pytest.mark.parametrize("clip", [Clip(b"\1\2" * 500, PCM), Clip(b"\3" * 333, PCMU)])
async def test_echo_says_the_callers_own_audio(clip: Clip) -> None:
    """Byte for byte, in the format it came in."""
    assert await audios(spoken(None), clip=clip) == [(clip.audio, clip.format, "")]


async def test_echo_answers_typed_text_with_the_text() -> None:
    """All that was typed since the last reply, and nothing from before. No voice says it."""
    items = [typed("old"), message("assistant", type="output_text", text="old"), typed("one"), typed("two")]
    for wants_audio in (False, True):
        assert await audios(*items, wants_audio=wants_audio) == [(b"", PCM, "one two")]


async def test_echo_without_words_or_sound_says_nothing() -> None:
    """A spoken turn has no text to answer a text-only response with."""
    assert await audios(spoken(None), clip=Clip(b"\1\2", PCM), wants_audio=False) == []
    assert await audios() == []


async def test_an_echo_that_is_interrupted_goes_on_with_the_next_event() -> None:
    """It has nothing else to say."""
    call = RecordingCall(
        asked(typed("one"), number=1), Heard(number=2, at_ms=0, item_id="i", text=None), interrupted_after=0
    )
    await Echo().run(call)
    assert call.acknowledged == [1, 2]


async def test_echo_does_not_transcribe() -> None:
    """It repeats, it does not understand."""
    assert await Echo().ear.transcribe(Clip(b"\1\2", PCM)) is None


async def test_loopback_has_nothing_to_say_itself() -> None:
    """A response asked of it is empty; the mirroring is the call's."""
    call = RecordingCall(asked(typed("hello")))
    await Loopback().run(call)
    assert call.speeches == []
