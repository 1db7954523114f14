"""Audio of providers, in whatever pieces and heads."""

from __future__ import annotations

import io
import struct
import wave
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.speech.pcm_stream import NotPcm, PcmStream

SAMPLES = struct.pack("<300h", *range(-150, 150))


def wav(samples: bytes = SAMPLES, rate_hz: int = 24_000, channels: int = 1, width: int = 2) -> bytes:
    """A file as Python writes it."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate_hz)
        writer.writeframes(samples)
    return file.getvalue()


def read(content_type: str, *pieces: bytes) -> bytes:
    """All samples."""
    stream = PcmStream(content_type)
    return b"".join(stream.feed(piece) for piece in pieces)


STREAMED = (
    wav()
    .replace(struct.pack("<I", len(SAMPLES)), b"\xff" * 4)
    .replace(b"fmt ", b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt ")
)
"""Without a size, and with tags of an odd length before the format."""


@pytest.mark.parametrize("body", [SAMPLES, wav(), STREAMED], ids=["headless", "file", "stream"])
@given(cuts=st.sets(st.integers(0, 700)))
def test_bytes_cut_anywhere_give_the_same_samples(body: bytes, cuts: set[int]) -> None:
    """Within the head, within a sample."""
    at = [0, *sorted(cut for cut in cuts if cut < len(body)), len(body)]
    assert read("audio/pcm", *(body[a:b] for a, b in pairwise(at))) == SAMPLES


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("audio/wav", wav(rate_hz=48_000)),
        ("audio/x-wav", wav(SAMPLES * 2, channels=2, rate_hz=48_000)),
        ("audio/pcm;rate=48000", SAMPLES),
        ('audio/L16; rate="48000"; channels=1', SAMPLES),
    ],
)
def test_other_rates_and_two_channels_become_what_calls_have(content_type: str, body: bytes) -> None:
    """24 000 Hz, one channel."""
    assert abs(len(read(content_type, body)) - len(SAMPLES) // 2) <= 4


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("audio/mpeg", b""),
        ("application/json", b""),
        ("audio/pcm;rate=1", b""),
        ("audio/wav", wav(rate_hz=1)),
        ("audio/wav", wav(width=1)),
        ("audio/wav", wav(SAMPLES * 3, channels=6)),
        ("audio/wav", b"RIFF....WAVEdata\xff\xff\xff\xff"),
        ("audio/wav", b"RIFF....WAVELIST\xff\xff\xff\xff"),
        ("audio/wav", b"RIFF....WAVEfmt \x02\0\0\0ab"),
    ],
)
def test_what_is_no_pcm_is_refused(content_type: str, body: bytes) -> None:
    """Before the caller hears it as noise."""
    with pytest.raises(NotPcm):
        read(content_type, body)


@given(st.lists(st.binary()))
def test_any_bytes_are_samples_or_refused(pieces: list[bytes]) -> None:
    """And a head without an end is not kept."""
    stream = PcmStream("audio/wav")
    try:
        for piece in [b"RIFF", *pieces]:
            assert len(stream.feed(piece)) % 2 == 0
    except NotPcm:
        pass
