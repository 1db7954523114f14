"""What an ear over HTTP is sent: a WAV file in a form of several parts, whole or while it is said."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Mapping

from voice_agent.call.audio import AudioFormat, to_linear
from voice_agent.kit.clip import Clip

FILE_NAME = "audio.wav"
SHORTEST_MS = 200
"""OpenAI refuses what is shorter than 100 ms; silence is put behind it."""
UNKNOWN_BYTES = 0xFFFFFFFF
"""The size of samples whose end nobody knows yet."""


def wav_head(rate_hz: int, size_bytes: int = UNKNOWN_BYTES) -> bytes:
    """What stands before PCM16 mono in a file."""
    riff_bytes = min(UNKNOWN_BYTES, size_bytes + 36)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate_hz, 2 * rate_hz, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE") + form + struct.pack("<4sI", b"data", size_bytes)


def wav_file(clip: Clip) -> bytes:
    """A clip as a file, PCM16 at its own rate."""
    samples = to_linear(clip.audio, clip.format)
    samples += bytes(max(0, _shortest_bytes(clip.format) - len(samples)))
    return wav_head(clip.format.rate_hz, len(samples)) + samples


def multipart(fields: Mapping[str, str], boundary: str) -> tuple[bytes, bytes, str]:
    """What stands before a file in a form, what stands behind it, and the form's content type (RFC 7578).

    `boundary` must be in none of it, as a random one is not.
    """
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    disposition = f'Content-Disposition: form-data; name="file"; filename="{FILE_NAME}"'
    parts.append(f"--{boundary}\r\n{disposition}\r\nContent-Type: audio/wav\r\n\r\n")
    return "".join(parts).encode(), f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


async def wav_stream(frames: AsyncIterator[Clip]) -> AsyncIterator[bytes]:
    """A file that is written while its frames come; all of them are of one format. Nothing of no frames."""
    size, shortest = 0, 0
    async for frame in frames:
        samples = to_linear(frame.audio, frame.format)
        if not shortest:
            shortest = _shortest_bytes(frame.format)
            yield wav_head(frame.format.rate_hz)
        size += len(samples)
        yield samples
    if size < shortest:
        yield bytes(shortest - size)


def _shortest_bytes(audio_format: AudioFormat) -> int:
    return SHORTEST_MS * audio_format.rate_hz // 1000 * 2
