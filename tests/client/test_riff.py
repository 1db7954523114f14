"""WAV files as programs and recorders really write them."""

from __future__ import annotations

import audioop
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voice_agent.client.refusals import CallFailed
from voice_agent.client.riff import NotReadableError, read
from voice_agent.client.wav import read_wav

SAMPLES = struct.pack("<4h", 0, 16384, -16384, 32767)


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    size = len(content) if size is None else size
    return name + struct.pack("<I", size) + content + b"\0" * (len(content) % 2)


def wav(form: bytes, data: bytes, *, size: int | None = None, between: bytes = b"") -> bytes:
    inside = b"WAVE" + chunk(b"fmt ", form) + between + chunk(b"data", data, size)
    return b"RIFF" + struct.pack("<I", len(inside)) + inside


def form(tag: int, bits: int, *, channels: int = 1, rate_hz: int = 24_000, more: bytes = b"") -> bytes:
    frame = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * frame, frame, bits) + more


def extensible(tag: int, bits: int) -> bytes:
    return form(0xFFFE, bits, more=struct.pack("<HHIH", 22, bits, 4, tag) + bytes(14))


def test_the_extensible_form_is_read() -> None:
    """As most audio editors write anything beyond 16 bits or two channels."""
    assert read(wav(extensible(1, 16), SAMPLES)).pcm == SAMPLES


@pytest.mark.parametrize(("code", "bits"), [("f", 32), ("d", 64)])
def test_floats_are_read_and_clipped(code: str, bits: int) -> None:
    """1.0 is full scale; what is beyond it, or not a number, makes no noise."""
    data = struct.pack(f"<5{code}", 0.0, 0.5, -0.5, 9.0, float("nan"))
    for made in (form(3, bits), extensible(3, bits)):
        assert struct.unpack("<5h", read(wav(made, data)).pcm) == (0, 16384, -16384, 32767, 0)


def test_telephone_codings_are_read() -> None:
    """A-law and µ-law, one byte a sample."""
    assert read(wav(form(6, 8), audioop.lin2alaw(SAMPLES, 2))).pcm == audioop.alaw2lin(audioop.lin2alaw(SAMPLES, 2), 2)
    assert read(wav(form(7, 8), audioop.lin2ulaw(SAMPLES, 2))).pcm == audioop.ulaw2lin(audioop.lin2ulaw(SAMPLES, 2), 2)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF, 1_000_000])
def test_a_size_that_was_never_filled_in_goes_to_the_end(size: int) -> None:
    """A recorder that writes into a pipe, or was killed, leaves such a header."""
    assert read(wav(form(1, 16), SAMPLES, size=size)).pcm == SAMPLES


def test_what_stands_between_is_passed_over() -> None:
    """Chunks of names, dates and notes, of odd length too; and nothing after the samples is taken for sound."""
    content = wav(form(1, 16), SAMPLES, between=chunk(b"LIST", b"abc")) + chunk(b"id3 ", b"more")
    assert read(content).pcm == SAMPLES


def test_a_file_that_ends_within_a_sample_loses_only_that() -> None:
    """Whole frames only."""
    assert read(wav(form(1, 16, channels=2), SAMPLES[:6], size=0)).pcm == SAMPLES[:4]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no WAV file"),
        (b"RIFF\0\0\0\0AVI ", "no WAV file"),
        (b"RIFF\0\0\0\0WAVE", "cut off before its samples"),
        (wav(form(1, 16), b""), "no samples"),
        (wav(form(1, 16)[:10], SAMPLES), "format is cut off"),
        (wav(form(1, 16, channels=0), SAMPLES), "makes no sense"),
        (wav(form(85, 16), SAMPLES), "tag 85"),
        (b"RIFF\0\0\0\0WAVE" + chunk(b"data", SAMPLES), "before their format"),
    ],
)
def test_what_cannot_be_read_is_told_in_words(tmp_path: Path, content: bytes, why: str) -> None:
    """One line that says what is wrong, and what would work."""
    path = tmp_path / "in.wav"
    path.write_bytes(content)
    with pytest.raises(CallFailed, match=why):
        read_wav(path)


@given(st.binary(max_size=200), st.integers(0, 60))
def test_any_bytes_are_a_recording_or_an_error_in_words(more: bytes, at: int) -> None:
    """Nothing else is raised, whatever a file holds."""
    content = wav(form(1, 16), SAMPLES)
    content = content[:at] + more + content[at:]
    try:
        recording = read(content)
    except NotReadableError:
        return
    assert len(recording.pcm) % (2 * recording.channels) == 0
