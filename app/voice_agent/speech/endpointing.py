"""Voice activity detection: where in a stream of audio somebody starts and stops speaking.

Everything runs on sample time. The stream is cut into windows of 20 ms, counted from
the position at which the endpointer starts, whatever the pieces it arrives in; so a
burst faster than real time is heard exactly like a paced stream. Each window is voiced
or not, by three judges that must agree:

- WebRTC's detector, on 8 kHz (24 kHz PCM is averaged three to one);
- a fixed level, below which nothing counts as speech;
- a moving level, well above the quietest window of the last one to two seconds, so
  that a steady hum or hiss is silence however loud it is.

Levels are taken from the difference of neighbouring samples, which all but removes
mains hum. ::

              3 of 5 windows voiced: started, at the first of them
    SILENT  ------------------------------------------------------->  SPEAKING
            <-------------------------------------------------------
              silence_duration_ms without a voiced window: stopped;
              MAX_SPEECH_MS since the start: stopped, and what follows goes on

A click is over before three windows are voiced, so it starts nothing. After a start
that noise caused, the moving level catches up within two seconds and ends it.

Cost: about 6 µs of CPU per window of 24 kHz PCM, 3 µs of G.711
(``python -m tests.speech.bench_endpointing``).
"""

from __future__ import annotations

import audioop
from collections.abc import Callable
from functools import partial

import webrtcvad

from voice_agent.call.audio import PCM, AudioFormat, to_linear
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.speech.narrowing import narrow

WINDOW_MS = 20
VAD_RATE_HZ = 8_000
START_WINDOWS = 5
START_VOICED = 3
ABOVE_NOISE = 1.8
"""How far a window's level must exceed the quietest recent one: 5 dB."""
MAX_SPEECH_MS = 60_000
"""A longer utterance is ended here and goes on as another: music on hold, or a television, would else be one endless
turn, in which the agent neither answers nor is interrupted."""
NOISE_BLOCK_WINDOWS = 50
"""The quietest window is looked for in the current block of one second and the one before."""
MAX_SPEECH_WINDOWS = MAX_SPEECH_MS // WINDOW_MS
_RECENT = (1 << START_WINDOWS) - 1
_LOUDEST = 1 << 16


class Endpointer:
    """Hears one stream of audio in one format.

    `threshold` (0 to 1) says how sure to be that it is speech. It sets the aggressiveness
    of WebRTC's detector (0, 1, 2 or 3 from 0, 0.25, 0.5 and 0.75 on) and the fixed level:
    −64 dBFS at 0, −52 dBFS at 0.5, −40 dBFS at 1, as the RMS of neighbouring samples'
    differences; a voice on the telephone has −45 to −30 there.

    `prefix_padding_ms` belongs to the same settings, but is subtracted by the call's rules
    and changes nothing here. `speaking` restores an utterance that was going on when another
    pod had the call, of which `spoken_bytes` have been heard; `at_bytes` is the position of the
    first byte that `feed` will get.
    """

    def __init__(
        self,
        audio_format: AudioFormat,
        *,
        threshold: float,
        prefix_padding_ms: int,
        silence_duration_ms: int,
        speaking: bool = False,
        spoken_bytes: int = 0,
        at_bytes: int = 0,
    ) -> None:
        self._narrow = _narrowing(audio_format)
        self._window_bytes = audio_format.size(WINDOW_MS)
        self._silence_windows = max(1, -(-silence_duration_ms // WINDOW_MS))
        self._vad = webrtcvad.Vad(min(3, max(0, int(threshold * 4))))
        self._least_level = int(32768 * 10 ** ((24 * threshold - 64) / 20))
        self._position = at_bytes
        self._pending = b""
        self._speaking = speaking
        self._spoken_windows = spoken_bytes // self._window_bytes
        self._cut = False
        """Whether the last utterance was ended although it went on, and no pause has come since."""
        self._unvoiced = 0
        self._recent = 0
        # An utterance under way must not be taken for the noise it is measured against.
        self._quietest_before = 0 if speaking else _LOUDEST
        self._quietest = _LOUDEST
        self._block_left = NOISE_BLOCK_WINDOWS

    def feed(self, audio: bytes) -> tuple[VoiceBoundary, ...]:
        """Hear the next piece, of any length; returns the boundaries that became certain with it."""
        size = self._window_bytes
        if len(audio) == size and not self._pending:  # As most clients send it: a window a message.
            boundary = self._hear(audio)
            return () if boundary is None else (boundary,)
        if self._pending:
            audio = self._pending + audio
        end = len(audio) - len(audio) % size
        boundaries: tuple[VoiceBoundary, ...] = ()
        for start in range(0, end, size):
            boundary = self._hear(audio[start : start + size])
            if boundary is not None:
                boundaries += (boundary,)
        self._pending = audio[end:]
        return boundaries

    @property
    def pause_ms(self) -> int:
        """How long the caller has paused inside an utterance; 0 while speaking and while silent."""
        return self._unvoiced * WINDOW_MS if self._speaking else 0

    def _hear(self, window: bytes) -> VoiceBoundary | None:
        self._position += len(window)
        voiced = self._is_voiced(self._narrow(window))
        if self._speaking:
            self._unvoiced = 0 if voiced else self._unvoiced + 1
            self._spoken_windows += 1
            is_pause = self._unvoiced >= self._silence_windows
            self._cut = self._spoken_windows >= MAX_SPEECH_WINDOWS and not is_pause
            if not is_pause and not self._cut:
                return None
            self._speaking = False
            self._recent = 0
            return VoiceBoundary(False, self._position, goes_on=self._cut)
        if self._cut:
            self._unvoiced = 0 if voiced else self._unvoiced + 1
            self._cut = self._unvoiced < self._silence_windows
        self._recent = (self._recent << 1 | voiced) & _RECENT
        if self._recent.bit_count() < START_VOICED:
            return None
        self._speaking = True
        self._unvoiced = self._spoken_windows = 0
        start = self._position - self._recent.bit_length() * self._window_bytes
        return VoiceBoundary(True, start, self._position, goes_on=self._cut)

    def _is_voiced(self, narrow: bytes) -> bool:
        level = audioop.rms(audioop.add(narrow[2:], audioop.mul(narrow[:-2], 2, -1), 2), 2)
        self._quietest = min(self._quietest, level)
        noise = min(self._quietest, self._quietest_before)
        self._block_left -= 1
        if not self._block_left:
            self._quietest_before, self._quietest = self._quietest, _LOUDEST
            self._block_left = NOISE_BLOCK_WINDOWS
        # WebRTC's detector learns from every window, so it is asked about the quiet ones too.
        speech: bool = self._vad.is_speech(narrow, VAD_RATE_HZ)
        return speech and level > self._least_level and level > noise * ABOVE_NOISE


def _narrowing(audio_format: AudioFormat) -> Callable[[bytes], bytes]:
    """What makes a window PCM16 at 8 kHz."""
    return narrow if audio_format is PCM else partial(to_linear, source=audio_format)
