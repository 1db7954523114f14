"""Audio that a provider streams, headless or as a WAV file, as PCM16 little-endian mono at 24 000 Hz.

A WAV file that is streamed has sizes that nobody could fill in, so what follows ``data`` goes on to the end.
"""

from __future__ import annotations

import audioop
import re
from typing import Any

from voice_agent.call.audio import PCM

RIFF = b"RIFF"
HEAD_BYTES = 12
CHUNK_BYTES = 8
FORMAT_BYTES = 16
INTEGERS, EXTENSIBLE = 1, 0xFFFE
MAX_CHUNK_BYTES = 1 << 16
"""Of a chunk before the samples, such as a list of tags: stops a file that is all head."""
MAX_CHANNELS = 2
RATES_HZ = range(4_000, 192_001)
RATE = re.compile(r"rate=\"?(\d{1,6})")
HEADLESS = ("audio/pcm", "audio/l16", "application/octet-stream", "audio/raw", "audio/x-raw", "")
WAV = ("audio/wav", "audio/x-wav", "audio/wave", "audio/vnd.wave")


class NotPcm(Exception):
    """It is something else; `str()` completes a sentence that begins with who gave it."""


class PcmStream:
    """One stream. Pieces may be cut anywhere, within a sample too: the same bytes give the same samples."""

    def __init__(self, content_type: str) -> None:
        """As the header says it; 24 000 Hz unless it names a rate. Raises `NotPcm`."""
        kind = content_type.partition(";")[0].strip().lower()
        if kind not in (*HEADLESS, *WAV):
            raise NotPcm(f"gave {kind}, and not PCM or WAV")
        rate = RATE.search(content_type)
        self._rate_hz = int(rate[1]) if rate else PCM.rate_hz
        self._channels = 1
        if self._rate_hz not in RATES_HZ:
            raise NotPcm(f"gave audio of {self._rate_hz} Hz")
        self._is_wav: bool | None = None
        """None until the first bytes have told."""
        self._rest = b""
        self._resampling: Any = None

    def feed(self, piece: bytes) -> bytes:
        """The samples that are complete with this piece. Raises `NotPcm`."""
        self._rest += piece
        if self._is_wav is None:
            if len(self._rest) < len(RIFF) and RIFF.startswith(self._rest):
                return b""
            self._is_wav = self._rest.startswith(RIFF)
            self._in_head = self._is_wav
            self._is_format_known = not self._is_wav
        if self._is_wav and self._in_head and not self._passed_head():
            return b""
        whole = len(self._rest) - len(self._rest) % (2 * self._channels)
        samples, self._rest = self._rest[:whole], self._rest[whole:]
        return self._converted(samples)

    def _passed_head(self) -> bool:
        """Whether the samples have begun; what stands before them is gone then."""
        at = HEAD_BYTES
        while len(self._rest) >= at + CHUNK_BYTES:
            name = self._rest[at : at + 4]
            size = int.from_bytes(self._rest[at + 4 : at + CHUNK_BYTES], "little")
            at += CHUNK_BYTES
            if name == b"data":
                if not self._is_format_known:
                    raise NotPcm("gave a WAV file whose samples come before their format")
                self._rest, self._in_head = self._rest[at:], False
                return True
            if size > MAX_CHUNK_BYTES:
                raise NotPcm("gave a WAV file whose head has no end")
            if len(self._rest) < at + size:
                return False
            if name == b"fmt ":
                self._take_format(self._rest[at : at + size])
            at += size + size % 2
        return False

    def _take_format(self, chunk: bytes) -> None:
        if len(chunk) < FORMAT_BYTES:
            raise NotPcm("gave a WAV file without a format")
        tag, channels = int.from_bytes(chunk[:2], "little"), int.from_bytes(chunk[2:4], "little")
        rate_hz, bits = int.from_bytes(chunk[4:8], "little"), int.from_bytes(chunk[14:16], "little")
        if tag not in (INTEGERS, EXTENSIBLE) or bits != 16 or channels not in range(1, MAX_CHANNELS + 1):
            raise NotPcm(f"gave a WAV file of format {tag} with {channels} channels of {bits} bits")
        if rate_hz not in RATES_HZ:
            raise NotPcm(f"gave a WAV file of {rate_hz} Hz")
        self._channels, self._rate_hz, self._is_format_known = channels, rate_hz, True

    def _converted(self, samples: bytes) -> bytes:
        if self._channels == MAX_CHANNELS:
            samples = audioop.tomono(samples, 2, 0.5, 0.5)
        if self._rate_hz != PCM.rate_hz and samples:
            samples, self._resampling = audioop.ratecv(samples, 2, 1, self._rate_hz, PCM.rate_hz, self._resampling)
        return samples
