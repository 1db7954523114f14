"""What ears over HTTP are sent."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator

from tests.doubles.forms import read_form, read_wav
from voice_agent.call.audio import PCM, PCMU
from voice_agent.kit.clip import Clip
from voice_agent.speech.wav_upload import SHORTEST_MS, multipart, wav_file, wav_stream

SECOND = Clip(bytes(range(256)) * 187 + bytes(128), PCM)


def test_a_clip_is_a_file_that_python_reads() -> None:
    """At its own rate; G.711 as what it stands for."""
    with wave.open(io.BytesIO(wav_file(SECOND))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        assert file.readframes(24_000) == SECOND.audio
    with wave.open(io.BytesIO(wav_file(Clip(b"\xff" * 8000, PCMU)))) as file:
        assert (file.getframerate(), file.getnframes()) == (8_000, 8_000)


def test_what_is_too_short_for_providers_has_silence_behind_it() -> None:
    """OpenAI refuses less than a tenth of a second."""
    samples, rate_hz = read_wav(wav_file(Clip(b"ab", PCM)))
    assert len(samples) == SHORTEST_MS * rate_hz // 1000 * 2
    assert samples[:4] == b"ab\0\0"


async def test_a_file_that_is_written_while_it_is_said_has_the_same_samples() -> None:
    """Only its size is not known."""

    async def frames(size: int) -> AsyncIterator[Clip]:
        for at in range(0, size, 960):
            yield Clip(SECOND.audio[at : at + 960], PCM)

    file = b"".join([piece async for piece in wav_stream(frames(48_000))])
    assert read_wav(file) == (SECOND.audio, 24_000)
    short = b"".join([piece async for piece in wav_stream(frames(960))])
    assert len(read_wav(short)[0]) == SHORTEST_MS * 48
    assert [piece async for piece in wav_stream(frames(0))] == []


def test_a_form_has_its_fields_and_its_file() -> None:
    """As RFC 7578 has it."""
    head, tail, content_type = multipart({"model": "whisper-1", "prompt": "Zoë"}, "b0undary")
    form = read_form(content_type, head + b"\r\n--x\r\n" + tail)
    assert form.fields == {"model": "whisper-1", "prompt": "Zoë"}
    assert (form.filename, form.file) == ("audio.wav", b"\r\n--x\r\n")
