"""Whether somebody speaks in a window of 20 ms.

Three judges must agree:

- WebRTC's detector, on 8 kHz (24 kHz PCM is averaged three to one);
- a fixed level, below which nothing counts as speech;
- a moving level, well above the quietest window of the last one to two seconds, so
  that a steady hum or hiss is silence however loud it is.

Levels are taken from the difference of neighbouring samples, which all but removes
mains hum.

A window so quiet that it must be below the fixed level is silence whatever the other judges say. WebRTC's detector,
which learns from what it gets, gets such windows later, ten at once or before the next one that is not so quiet.

A window that begins or ends with samples that are all the same is a lost packet, filled up by who noticed: it tells
nothing of the noise, else what comes after it would stand out, and steady noise with one lost packet in a hundred would
be speech some times a minute. A long run of them is silence all the same: a client that is muted, a line that is off.
"""

from __future__ import annotations

import audioop

import webrtcvad

from voice_agent.call.audio import PCM, AudioFormat, to_linear
from voice_agent.speech.narrowing import narrow, narrow_quiet

WINDOW_MS = 20
VAD_RATE_HZ = 8_000
ABOVE_NOISE = 1.8
"""How far a window's level must exceed the quietest recent one: 5 dB."""
NOISE_BLOCK_WINDOWS = 50
"""The quietest window is looked for in the current block of one second and the one before."""
QUIET_WINDOWS = 10
"""So many quiet windows wait for WebRTC's detector at most, 9.6 kB of a call: together they take less time."""
MAX_LOST_WINDOWS = 25
"""So much in a row is silence, half a second: networks lose less, and what comes after it may be a voice."""
MAX_LOST_AT_START = 3
"""As long as nothing else has come: a recording of a voice alone may begin in silence."""
_LOST_SAMPLES = 32
"""So many that are the same, at an edge of a window. No noise above the fixed level has them, nor has a voice."""
_LOUDEST = 1 << 16
_NARROW_BYTES = VAD_RATE_HZ * WINDOW_MS // 1000 * 2


class VoiceActivity:
    """Of one stream of audio in one format, window by window.

    `threshold` (0 to 1) says how sure to be that it is speech. It sets the aggressiveness
    of WebRTC's detector (0, 1, 2 or 3 from 0, 0.25, 0.5 and 0.75 on) and the fixed level:
    −64 dBFS at 0, −52 dBFS at 0.5, −40 dBFS at 1, as the RMS of neighbouring samples'
    differences; a voice on the telephone has −45 to −30 there. `speaking`: the stream begins
    in the middle of an utterance.
    """

    def __init__(self, audio_format: AudioFormat, *, threshold: float, speaking: bool) -> None:
        self._format = audio_format
        self._vad = webrtcvad.Vad(min(3, max(0, int(threshold * 4))))
        self._least_level = int(32768 * 10 ** ((24 * threshold - 64) / 20))
        self._quiet_level = int(self._least_level / ABOVE_NOISE)
        """No lower noise makes a difference: what is above the fixed level is far enough above this one, too."""
        self._quiet_rms = int((self._quiet_level - 2) / 2.01) - 1
        """A window whose samples have no more cannot exceed `_quiet_level`, whatever they are: the difference of
        neighbours is at most twice as large as they are, narrowing adds 2 to it, and `audioop.rms` rounds down."""
        self._quiet: list[bytes] = []
        """Windows that WebRTC's detector has not had yet, PCM16 at the format's rate."""
        self.above_noise = ABOVE_NOISE
        """Less finds more; for who has another judge of what is speech."""
        self.was_low = True
        """Whether the last window was below the fixed level: only then is the next one asked if it is quiet."""
        # An utterance under way must not be taken for the noise it is measured against.
        self._quietest_before = 0 if speaking else _LOUDEST
        self._quietest = _LOUDEST
        self._block_left = NOISE_BLOCK_WINDOWS
        self._lost = 0
        """Windows in a row that were lost."""
        self._most_lost = MAX_LOST_AT_START

    @property
    def noise(self) -> tuple[int, int, int]:
        """The quietest window's level in the block of one second before, and in this one; windows left of this one."""
        return self._quietest_before, self._quietest, self._block_left

    @noise.setter
    def noise(self, noise: tuple[int, int, int]) -> None:
        self._quietest_before, self._quietest, self._block_left = noise

    def is_voiced(self, window: bytes) -> bool:
        """Judge the next `WINDOW_MS`."""
        is_pcm = self._format is PCM
        linear = window if is_pcm else to_linear(window, self._format)
        if self.was_low and audioop.rms(linear, 2) <= self._quiet_rms:
            if self._is_lost(linear):
                return False
            self._note_level(self._quiet_level)
            self._quiet.append(linear)
            if len(self._quiet) >= QUIET_WINDOWS:
                self._learn_quiet()
            return False
        if self._quiet:
            self._learn_quiet()
        narrowed = narrow(linear) if is_pcm else linear
        level = audioop.rms(audioop.add(narrowed[2:], audioop.mul(narrowed[:-2], 2, -1), 2), 2)
        if level < self._quietest or level < self._quietest_before or level <= self._quiet_level:
            if self._is_lost(linear):
                return False
        else:
            self._lost = 0
        noise = self._note_level(level)
        # WebRTC's detector learns from every window, so it is asked about the quiet ones too.
        speech: bool = self._vad.is_speech(narrowed, VAD_RATE_HZ)
        self.was_low = level <= self._least_level
        return speech and not self.was_low and level > noise * self.above_noise

    def _is_lost(self, linear: bytes) -> bool:
        """Whether a window that is quieter than the noise is so for a packet that was lost."""
        size = 2 * _LOST_SAMPLES
        head, tail = linear[:size], linear[-size:]
        if head != head[:2] * _LOST_SAMPLES and tail != tail[:2] * _LOST_SAMPLES:
            self._lost = 0
            return False
        if self._most_lost == MAX_LOST_AT_START and linear != linear[:2] * (len(linear) // 2):
            return False  # Nothing has been heard yet: a recording of a voice alone begins within a window.
        self._lost += 1
        return self._lost <= self._most_lost

    def _note_level(self, level: int) -> int:
        """The level of the quietest recent window, the one included whose level it is."""
        self._most_lost = MAX_LOST_WINDOWS
        if level < self._quietest:  # noqa: PLR1730 - `min` takes longer than all else here
            self._quietest = level
        noise = min(self._quietest, self._quietest_before)
        self._block_left -= 1
        if not self._block_left:
            self._quietest_before, self._quietest = self._quietest, _LOUDEST
            self._block_left = NOISE_BLOCK_WINDOWS
        return noise

    def _learn_quiet(self) -> None:
        """Give WebRTC's detector what it has not had yet."""
        quiet = b"".join(self._quiet)
        self._quiet.clear()
        narrowed = narrow_quiet(quiet) if self._format is PCM else quiet
        for at in range(0, len(narrowed), _NARROW_BYTES):
            self._vad.is_speech(narrowed[at : at + _NARROW_BYTES], VAD_RATE_HZ)
