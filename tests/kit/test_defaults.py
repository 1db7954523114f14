"""What an author need not write: the defaults of `agent`, `ear` and `voice`.

With values of `call`, `clip`, `events` and `speech`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from voice_agent.call.audio import PCM
from voice_agent.kit.agent import Agent, Kit
from voice_agent.kit.call import KeyReused
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.kit.events import Event, Heard, Started
from voice_agent.kit.voice import Utterance, Voice


class Lengths(Ear):
    """Understands how long an utterance is."""

    async def transcribe(self, clip: Clip) -> str | None:
        return f"{clip.format.ms(len(clip.audio))} ms"


async def frames(*sizes_ms: int) -> AsyncIterator[Clip]:
    """Silence in pieces."""
    for size_ms in sizes_ms:
        yield Clip(bytes(PCM.size(size_ms)), PCM)


async def test_an_ear_that_takes_utterances_whole_listens_to_them_in_pieces() -> None:
    """By default all frames are collected, and there is one transcript, a final one."""
    assert [found async for found in Lengths().listen(frames(20, 40))] == [Transcript("60 ms")]


async def test_nothing_was_said_in_an_utterance_without_frames() -> None:
    """It is not known what was said, and nobody is asked."""
    assert [found async for found in Lengths().listen(frames())] == [Transcript(None)]


def test_a_voice_without_a_way_to_speak_says_which_it_is() -> None:
    """The class is named, and the method."""
    with pytest.raises(NotImplementedError, match="Voice has no method say"):
        Voice().say(Utterance("hello", "alloy"))


class EventsOnly:
    """A call of which an agent reads nothing but the events."""

    def __init__(self, *events: Event) -> None:
        self.left = list(events)

    async def events(self) -> AsyncIterator[Event]:
        while self.left:
            yield self.left.pop(0)


async def test_an_agent_without_methods_takes_every_event_and_says_nothing() -> None:
    """Its `run` returns when the events end."""
    call = EventsOnly(Started(number=1, at_ms=0), Heard(number=2, at_ms=1, item_id="item_1", text="hello"))
    agent = Agent()
    await agent.open(Kit())
    await agent.run(call)  # type: ignore[arg-type]  # it needs no more of a call
    await agent.close()
    assert call.left == []


async def test_the_client_of_a_kit_is_made_once_and_closed_with_it() -> None:
    """Agents share it."""
    kit = Kit()
    client = kit.http
    assert kit.http is client
    await kit.close()
    assert client.is_closed


def test_a_key_that_is_used_twice_is_named() -> None:
    """The author finds the place by it."""
    assert "'order'" in str(KeyReused("order"))
