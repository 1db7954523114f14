"""Tests of `echo` and `loopback`."""

from __future__ import annotations

import pytest

from tests.agents.frontdesk.dialogs import message, parts_of, spoken, turn, typed
from voice_agent.agents.base import Audio, Text
from voice_agent.agents.echo import Echo
from voice_agent.agents.loopback import Loopback
from voice_agent.call.audio import PCM, PCMU
from voice_agent.kit.clip import Clip


@pytest.mark.parametrize("clip", [Clip(b"\1\2" * 500, PCM), Clip(b"\3" * 333, PCMU)])
async def test_echo_says_the_callers_own_audio(clip: Clip) -> None:
    """Byte for byte, in the format it came in."""
    parts = await parts_of(Echo(), turn(spoken(None), clip=clip))
    assert parts == [Audio(clip.audio, clip.format)]


async def test_echo_answers_typed_text_with_the_text() -> None:
    """All that was typed since the last reply, and nothing from before."""
    items = [typed("old"), message("assistant", type="output_text", text="old"), typed("one"), typed("two")]
    assert await parts_of(Echo(), turn(*items, wants_audio=False)) == [Text("one two")]


async def test_echo_without_words_or_sound_says_nothing() -> None:
    """A spoken turn has no text to answer a text-only response with."""
    assert await parts_of(Echo(), turn(spoken(None), clip=Clip(b"\1\2", PCM), wants_audio=False)) == []
    assert await parts_of(Echo(), turn()) == []


async def test_echo_does_not_transcribe() -> None:
    """It repeats, it does not understand."""
    assert await Echo().transcribe(Clip(b"\1\2", PCM)) is None


async def test_loopback_has_nothing_to_say_itself() -> None:
    """A response asked of it is empty; the mirroring is the call's."""
    assert Loopback().mirrors
    assert await parts_of(Loopback(), turn(typed("hello"))) == []
