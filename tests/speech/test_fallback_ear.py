"""Ears of which the next is asked where one fails, against two providers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.doubles.faults import Fault
from tests.doubles.serving import Served
from tests.doubles.tones import sound_of
from tests.servers import free_port
from tests.speech.speaking import ear_at
from tests.waiting import PATIENCE_S
from voice_agent.call.audio import PCM
from voice_agent.kit.clip import Clip
from voice_agent.kit.ear import Ear, Transcript
from voice_agent.providers import answer_times
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.errors import ProviderFailed
from voice_agent.providers.hedging import GaveNothing
from voice_agent.speech.fallback_ear import FallbackEar
from voice_agent.speech.http_ear import EarEndpoint, HttpEar
from voice_agent.speech.provider_faults import ear_fault

CLIP = Clip(sound_of("hello world"), PCM)


async def frames() -> AsyncIterator[Clip]:
    """It is being said."""
    for at in range(0, len(CLIP.audio), 960):
        await asyncio.sleep(0)
        yield Clip(CLIP.audio[at : at + 960], PCM)


@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize(
    "fault", [Fault("status", status=429), Fault("status", status=500), Fault("timeout"), Fault("cut", 5), Fault("cut")]
)
async def test_a_turn_is_understood_while_one_of_them_is_well(
    client: ProviderClient, first: Served, second: Served, fault: Fault, streams: bool
) -> None:
    """Sent whole, or while it is said."""
    first.provider.faults.always("hear", fault)
    one = ear_at(client, first, key="first", streams=streams, first_s=0.5)
    ear = FallbackEar([one, ear_at(client, second, key="second")])
    assert ear_fault(ear) is None
    assert [heard.text async for heard in ear.listen(frames())][-1] == "hello world"
    assert await ear.transcribe(CLIP) == "hello world"


async def test_a_provider_that_cannot_be_reached_loses_nothing_of_what_was_said(
    client: ProviderClient, second: Served
) -> None:
    """It fails while the caller is still speaking."""
    dead = HttpEar(lambda: client, EarEndpoint(url=f"http://127.0.0.1:{free_port()}", streams=True))
    ear = FallbackEar([dead, ear_at(client, second, key="second")])
    assert [heard.text async for heard in ear.listen(frames())] == ["hello world"]


async def test_when_all_fail_it_raises(client: ProviderClient, first: Served, second: Served) -> None:
    """The turn is not understood, which is the caller's to be told."""
    for double in (first, second):
        double.provider.faults.always("hear", Fault("status", status=500))
    ear = FallbackEar([ear_at(client, first, key="first"), ear_at(client, second, key="second")])
    with pytest.raises(ProviderFailed):
        await ear.transcribe(CLIP)


async def test_one_that_has_not_understood_has_answered() -> None:
    """Nobody else is asked for what was mumbled."""

    class Deaf(Ear):
        name = "deaf"

        async def transcribe(self, clip: Clip) -> str | None:
            return None

    class Never(Ear):
        name = "never"

        async def transcribe(self, clip: Clip) -> str | None:
            raise AssertionError

    assert await FallbackEar([Deaf(), Never()]).transcribe(CLIP) is None


async def test_frames_that_an_ear_took_when_it_failed_are_not_lost() -> None:
    """Even if it was cancelled while it waited for one."""

    class Impatient(Ear):
        name = "impatient"
        streams = True

        async def listen(self, frames: AsyncIterator[Clip]) -> AsyncIterator[Transcript]:
            await anext(frames)
            taking = asyncio.ensure_future(anext(frames))
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait((taking,))
            raise RuntimeError("no patience")
            yield Transcript("")

    class Counting(Ear):
        name = "counting"

        async def transcribe(self, clip: Clip) -> str | None:
            return str(clip.audio == CLIP.audio)

    ear = FallbackEar([Impatient(), Counting()])
    assert [heard.text async for heard in ear.listen(frames())] == ["True"]


async def test_one_that_hangs_is_soon_given_up_when_the_other_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The turn is not understood then; it does not wait until its call gives the ear up."""

    class Hanging(Ear):
        name = "hanging"

        async def transcribe(self, clip: Clip) -> str | None:
            await asyncio.Event().wait()
            return None

    class Failing(Ear):
        name = "failing"

        async def transcribe(self, clip: Clip) -> str | None:
            raise RuntimeError("no")

    monkeypatch.setattr(answer_times, "LAST_S", 0.01)
    async with asyncio.timeout(PATIENCE_S):
        with pytest.raises(GaveNothing):
            await FallbackEar([Hanging(), Failing()]).transcribe(CLIP)
