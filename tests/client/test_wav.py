"""Recordings of every kind in, a recording out."""

from __future__ import annotations

import audioop
import gc
import math
import struct
import wave
from contextlib import closing
from pathlib import Path

import pytest

from voice_agent.call.audio import PCM, PCMA, PCMU, to_linear
from voice_agent.client.refusals import CallFailed
from voice_agent.client.wav import WavWriter, encoded, end_of_speech_ms, read_wav, resampled


def tone(rate_hz: int, frequency_hz: float, duration_ms: int, height: int = 12_000) -> bytes:
    """A sine as PCM16."""
    count = rate_hz * duration_ms // 1000
    return struct.pack(
        f"<{count}h", *(round(height * math.sin(2 * math.pi * frequency_hz * n / rate_hz)) for n in range(count))
    )


def wav_file(path: Path, audio: bytes, *, rate_hz: int = 24_000, width: int = 2, channels: int = 1) -> Path:
    with wave.open(str(path), "wb") as recording:
        recording.setnchannels(channels)
        recording.setsampwidth(width)
        recording.setframerate(rate_hz)
        recording.writeframes(audio)
    return path


def height_of(pcm: bytes, frequency_hz: float, rate_hz: int = 24_000) -> float:
    """How much of a frequency is in the middle of some audio."""
    samples = struct.unpack(f"<{len(pcm) // 2}h", pcm)
    samples = samples[len(samples) // 4 : -len(samples) // 4]
    turn = 2 * math.pi * frequency_hz / rate_hz
    real = sum(value * math.cos(turn * n) for n, value in enumerate(samples))
    imaginary = sum(value * math.sin(turn * n) for n, value in enumerate(samples))
    return 2 * math.hypot(real, imaginary) / len(samples)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    """Sample for sample, however it was cut."""
    audio = tone(24_000, 440, 500)
    with closing(WavWriter(tmp_path / "out.wav")) as writer:
        for at in range(0, len(audio), 1234):
            writer.write(audio[at : at + 1234])
    assert read_wav(tmp_path / "out.wav") == audio


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 24_000, 48_000])
def test_any_recording_sounds_the_same(tmp_path: Path, rate_hz: int, width: int, channels: int) -> None:
    """Length, pitch and loudness survive the way from any rate, width and number of channels."""
    mono = tone(rate_hz, 440, 400)
    samples = [mono[at : at + 2] * channels for at in range(0, len(mono), 2)]
    audio = audioop.lin2lin(b"".join(samples), 2, width)
    audio = audioop.bias(audio, 1, 128) if width == 1 else audio
    pcm = read_wav(wav_file(tmp_path / "in.wav", audio, rate_hz=rate_hz, width=width, channels=channels))
    assert PCM.ms(len(pcm)) == pytest.approx(400, abs=1)
    assert height_of(pcm, 440) == pytest.approx(12_000, rel=0.02)


def test_channels_are_mixed(tmp_path: Path) -> None:
    """Speech on one side only is heard, at half the height."""
    mono = tone(24_000, 440, 400)
    stereo = b"".join(mono[at : at + 2] + b"\0\0" for at in range(0, len(mono), 2))
    pcm = read_wav(wav_file(tmp_path / "in.wav", stereo, channels=2))
    assert height_of(pcm, 440) == pytest.approx(6_000, rel=0.02)


@pytest.mark.parametrize("audio_format", [PCMU, PCMA])
def test_a_telephone_hears_no_aliases(audio_format: object) -> None:
    """A tone that 8 000 Hz cannot carry is silent there, and one that it can is not."""
    chosen = PCMU if audio_format == PCMU else PCMA
    low = to_linear(encoded(tone(24_000, 1000, 400), chosen), chosen)
    high = to_linear(encoded(tone(24_000, 7000, 400), chosen), chosen)
    assert len(low) == 400 * 8 * 2
    assert height_of(low, 1000, 8000) == pytest.approx(12_000, rel=0.03)
    assert height_of(high, 1000, 8000) < 60


def test_pcm_stays_as_it_is() -> None:
    """The usual format costs nothing; nothing stays nothing."""
    audio = tone(24_000, 440, 100)
    assert encoded(audio, PCM) is audio
    assert resampled(b"", 8000, 24_000) == b""


def test_a_recording_cut_within_a_sample_is_read_to_its_last_whole_one(tmp_path: Path) -> None:
    """Whoever recorded it was killed."""
    path = wav_file(tmp_path / "in.wav", tone(24_000, 440, 100), channels=2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert len(read_wav(path)) == 24_000 // 10 // 2 * 2 - 2


def test_a_full_disk_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """While writing or at the end, in one line with the file's name, and nothing is left half open."""
    writer = WavWriter(Path("/dev/full"))
    with pytest.raises(CallFailed, match=r"^cannot write /dev/full: No space left on device$"):
        for _ in range(100):
            writer.write(bytes(4800))
    with pytest.raises(CallFailed, match="cannot write /dev/full"):
        writer.close()
    del writer
    gc.collect()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"RIFF", b"this is no recording at all, but it is long enough", None])
def test_what_is_no_recording_is_told_in_one_line(tmp_path: Path, content: bytes | None) -> None:
    """Empty, cut off, something else, not there: the file's name and what works."""
    path = tmp_path / "in.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CallFailed, match=r"in\.wav: .+ \(an uncompressed WAV file works\)$") as failure:
        read_wav(path)
    assert "\n" not in str(failure.value)


def test_the_end_of_speech_is_the_last_loud_frame() -> None:
    """Noise after it does not count, a word after a pause does; latencies are measured from here."""
    speech, noise = tone(24_000, 300, 200), tone(24_000, 300, 400, height=100)
    assert end_of_speech_ms(noise + speech + noise) == 600
    assert end_of_speech_ms(speech + noise + speech + noise) == 800
    assert end_of_speech_ms(noise + speech[:-480]) == 600
    assert end_of_speech_ms(bytes(960 * 10)) == 0
    assert end_of_speech_ms(b"") == 0
