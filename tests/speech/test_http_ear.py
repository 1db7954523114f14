"""An ear over HTTP, against a provider that hears what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.doubles.serving import Served
from tests.doubles.tones import sound_of
from tests.providers.server import sending, serving, whole
from tests.speech.speaking import RecordingMeter, ear_at
from voice_agent.call.audio import PCM, PCMU, Converter
from voice_agent.kit.clip import Clip
from voice_agent.kit.usage import METER
from voice_agent.providers.client import ProviderClient
from voice_agent.providers.errors import FailureKind, ProviderFailed
from voice_agent.speech.http_ear import MODEL, EarEndpoint, HttpEar
from voice_agent.speech.provider_faults import ear_fault

SPOKEN = sound_of("hello world")


async def frames() -> AsyncIterator[Clip]:
    """It is being said."""
    for at in range(0, len(SPOKEN), 960):
        yield Clip(SPOKEN[at : at + 960], PCM)


async def test_it_hears_what_was_said_and_is_counted(client: ProviderClient, first: Served) -> None:
    """By the length of what it was given; of a telephone too."""
    meter = RecordingMeter()
    METER.set(meter)
    ear = ear_at(client, first, key="first", name="one", language="en", prompt="Zoe")
    assert ear_fault(ear) is None
    assert await ear.transcribe(Clip(SPOKEN, PCM)) == "hello world"
    assert await ear.transcribe(Clip(Converter(PCM, PCMU).convert(SPOKEN), PCMU)) == "hello world"
    (figures,) = meter.figures.values()
    assert figures is not None
    assert figures["audio_ms"] == PCM.ms(len(SPOKEN))
    request = first.provider.log.of("hear")[0]
    assert request.asked == {"model": MODEL, "response_format": "json", "language": "en", "prompt": "Zoe"}
    assert request.client_request_id == meter.ids[0]


async def test_it_is_sent_while_it_is_said_where_that_is_set(client: ProviderClient, first: Served) -> None:
    """The transcript is the same."""
    for streams in (True, False):
        ear = ear_at(client, first, key="first", streams=streams)
        assert ear_fault(ear) is None
        assert [(heard.text, heard.is_final) async for heard in ear.listen(frames())] == [("hello world", True)]


async def test_what_is_likely_to_be_said_is_told_where_no_setting_does(client: ProviderClient, first: Served) -> None:
    """The call's language and prompt, also of what is sent while it is said; the operator's own take precedence."""

    async def frames() -> AsyncIterator[Clip]:
        for at in range(0, len(SPOKEN), 960):
            yield Clip(SPOKEN[at : at + 960], PCM, "de-AT", prompt="Zuse")

    plain, own = ear_at(client, first, key="first"), ear_at(client, first, key="first", prompt="Zoe", language="en")
    for ear in (plain, own, ear_at(client, first, key="first", streams=True)):
        assert [heard.text async for heard in ear.listen(frames())] == ["hello world"]
    asked = [(request.asked.get("prompt"), request.asked.get("language")) for request in first.provider.log.of("hear")]
    assert asked == [("Zuse", "de"), ("Zoe", "en"), ("Zuse", "de")]


async def test_a_turn_without_sound_that_is_sent_as_it_is_said_asks_nobody(
    client: ProviderClient, first: Served
) -> None:
    """No frame came."""

    async def none() -> AsyncIterator[Clip]:
        for _ in ():
            yield Clip(b"", PCM)

    ear = ear_at(client, first, key="first", streams=True)
    assert [heard.text async for heard in ear.listen(none())] == [""]
    assert first.provider.log.of("hear") == []


async def test_nothing_asks_nobody(client: ProviderClient, first: Served) -> None:
    """No speech."""
    assert await ear_at(client, first, key="first").transcribe(Clip(b"", PCM)) == ""
    assert first.provider.log.of("hear") == []


@pytest.mark.parametrize("body", [b"hello", b"[]", b'{"text": 7}', b'{"txt": ""}', b"[" * 100_000])
async def test_an_answer_that_is_no_transcript_is_a_failure(client: ProviderClient, body: bytes) -> None:
    """And counts against the provider."""
    async with serving(sending(whole(body))) as provider:
        ear = HttpEar(lambda: client, EarEndpoint(url=provider.endpoint().url))
        with pytest.raises(ProviderFailed) as failed:
            await ear.transcribe(Clip(SPOKEN, PCM))
        assert failed.value.kind is FailureKind.INVALID
        assert client.health(ear.endpoint).failures == {FailureKind.INVALID: 1}
