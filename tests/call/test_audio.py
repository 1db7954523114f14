"""Audio formats and what turns one into another."""

from __future__ import annotations

import numpy as np
import pytest

from voice_agent.call.audio import FORMATS, PCM, PCMA, PCMU, AudioFormat, Converter, to_linear


def slope(audio_format: AudioFormat) -> bytes:
    """A tenth of a second that rises evenly from low to high."""
    rising = np.linspace(-20_000, 20_000, PCM.size(100) // 2).astype("<i2").tobytes()
    return Converter(PCM, audio_format).convert(rising)


@pytest.mark.parametrize("source", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("target", FORMATS.values(), ids=FORMATS)
def test_what_is_converted_is_as_long_and_goes_the_same_way(source: AudioFormat, target: AudioFormat) -> None:
    """Within the steps of G.711 a slope stays a slope, of one channel."""
    made = Converter(source, target).convert(slope(source))
    assert abs(len(made) - target.size(100)) <= 3 * target.sample_bytes
    linear = np.frombuffer(to_linear(made, target), dtype="<i2").astype(int)
    assert (np.diff(linear) >= 0).all()
    assert linear[0] < -15_000
    assert linear[-1] > 15_000


@pytest.mark.parametrize("target", [PCM, PCMU, PCMA], ids=lambda target: target.name)
@pytest.mark.parametrize("source", [PCM, PCMU, PCMA], ids=lambda source: source.name)
def test_the_cut_of_a_stream_changes_no_byte_of_it(source: AudioFormat, target: AudioFormat) -> None:
    """A reply that is made again elsewhere, in other pieces, is the same reply."""
    audio = slope(source)
    whole = Converter(source, target).convert(audio)
    for piece_samples in (1, 7, 160):
        converter, size = Converter(source, target), piece_samples * source.sample_bytes
        pieces = [converter.convert(audio[at : at + size]) for at in range(0, len(audio), size)]
        assert b"".join(pieces) == whole


@pytest.mark.parametrize(
    ("audio_format", "bytes_per_ms", "shape"),
    [
        (PCM, 48, {"type": "audio/pcm", "rate": 24_000}),
        (PCMU, 8, {"type": "audio/pcmu"}),
        (PCMA, 8, {"type": "audio/pcma"}),
    ],
    ids=FORMATS,
)
def test_a_format_knows_its_sizes_and_its_name(
    audio_format: AudioFormat, bytes_per_ms: int, shape: dict[str, object]
) -> None:
    """Of milliseconds only whole ones count; a rate is named where the protocol has one."""
    assert audio_format.size(20) == 20 * bytes_per_ms
    assert [audio_format.ms(20 * bytes_per_ms + more) for more in (-1, 0, bytes_per_ms - 1)] == [19, 20, 20]
    assert audio_format.as_json() == shape


def test_a_format_of_an_authors_own_needs_its_rate_and_its_samples_only() -> None:
    """What follows from them is worked out."""
    wide = AudioFormat("audio/pcm", 16_000, 2)
    assert (wide.bytes_per_ms, wide.size(20), wide.ms(640)) == (32, 640, 20)
