"""A voice over HTTP, against a provider that can be heard."""

from __future__ import annotations

import pytest

from tests.doubles.faults import Fault
from tests.doubles.serving import Served
from tests.doubles.tones import sound_of, words_in
from tests.providers.server import sending, serving, whole
from tests.speech.speaking import RecordingMeter, joined, said, voice_at
from tests.waiting import until
from voice_agent.kit.usage import METER
from voice_agent.kit.voice import Utterance
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.speech.http_voice import MAX_INPUT_CHARS, MODEL, HttpVoice, VoiceEndpoint
from voice_agent.speech.provider_faults import voice_fault


async def test_it_says_what_it_is_given_and_is_counted(client: ProviderClient, first: Served) -> None:
    """The words are in the audio; the request has the id under which it is counted."""
    meter = RecordingMeter()
    METER.set(meter)
    voice = voice_at(client, first, key="first", name="one")
    assert voice_fault(voice) is None
    assert words_in(joined(await said(voice, "Hello, world."))) == ["hello", "world"]
    assert meter.figures == {f"one/{MODEL}": {"characters": len("Hello, world.")}}
    (request,) = first.provider.log.of("speak")
    assert request.asked == {"model": MODEL, "voice": "alloy", "input": "Hello, world.", "response_format": "pcm"}
    assert request.client_request_id == meter.ids[0]


async def test_speed_instructions_and_a_voice_of_its_own_are_sent_where_they_are_set(
    client: ProviderClient, first: Served
) -> None:
    """And nothing else: what a server does not know it refuses."""
    voice = voice_at(client, first, key="first", model="kokoro", voice="af_sky", instructions="Kindly.")
    await said(voice, "Yes.", speed=1.25)
    asked = first.provider.log.of("speak")[0].asked
    expected = {"model": "kokoro", "voice": "af_sky", "speed": 1.25, "instructions": "Kindly."}
    assert asked | expected == asked


async def test_what_has_nothing_to_say_asks_nobody(client: ProviderClient, first: Served) -> None:
    """A provider would refuse it, or make a noise."""
    assert await said(voice_at(client, first, key="first"), " … !\n") == []
    assert first.provider.log.of("speak") == []


async def test_a_long_text_is_said_in_several_requests(client: ProviderClient, first: Served) -> None:
    """Each ends with a word, and none is longer than it may be."""
    text = "Go on. " * 700
    assert len(joined(await said(voice_at(client, first, key="first"), text))) == len(sound_of(text))
    inputs = [request.asked["input"] for request in first.provider.log.of("speak")]
    assert "".join(inputs) == text
    assert max(map(len, inputs)) <= MAX_INPUT_CHARS


async def test_a_wav_is_taken_as_well(client: ProviderClient, first: Served) -> None:
    """Some servers know nothing else."""
    async with serving(sending(whole(b"", "200 OK", "Content-Type: audio/pcm"))) as silent:
        voice = HttpVoice(lambda: client, VoiceEndpoint(url=silent.endpoint().url))
        with pytest.raises(ProviderFailed, match="gave no audio"):
            await said(voice, "Yes.")
    async with serving(sending(whole(b"ID3", "200 OK", "Content-Type: audio/mpeg"))) as other:
        voice = HttpVoice(lambda: client, VoiceEndpoint(url=other.endpoint().url))
        with pytest.raises(ProviderFailed, match="gave audio/mpeg") as failed:
            await said(voice, "Yes.")
        assert failed.value.kind is FailureKind.INVALID
        assert client.health(voice.endpoint).failures == {FailureKind.INVALID: 1}


async def test_left_in_the_middle_it_leaves_nothing_open(client: ProviderClient, first: Served) -> None:
    """A caller spoke."""
    first.provider.faults.add("speak", Fault("stall", 9600))
    pieces = voice_at(client, first, key="first").say(Utterance("One two three four five six seven.", "alloy"))
    await anext(pieces)
    await pieces.aclose()  # type: ignore[attr-defined]  # an async generator
    await until(lambda: not client.open_requests)
