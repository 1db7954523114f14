"""Voice activity detection: where in a stream of audio somebody starts and stops speaking.

Everything runs on sample time. The stream is cut into windows of 20 ms, counted from
the position at which the endpointer starts, whatever the pieces it arrives in; so a
burst faster than real time is heard exactly like a paced stream. Each window is voiced
or not (`voice_activity`). ::

              3 of 5 windows voiced: started, at the first of them
    SILENT  ------------------------------------------------------->  SPEAKING
            <-------------------------------------------------------
              silence_duration_ms without a voiced window: stopped;
              MAX_SPEECH_MS since the start: stopped, and what follows goes on

A click is over before three windows are voiced, so it starts nothing. After a start
that noise caused, the moving level catches up within two seconds and ends it.

Cost: about 6 µs of CPU per window of 24 kHz PCM, 3 µs of a quiet one and of G.711
(``python -m tests.speech.bench_endpointing``).
"""

from __future__ import annotations

from voice_agent.call.audio import AudioFormat
from voice_agent.call.input_buffer import Onset
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.speech.voice_activity import ABOVE_NOISE, WINDOW_MS, VoiceActivity

START_WINDOWS = 5
START_VOICED = 3
MAX_SPEECH_MS = 60_000
"""A longer utterance is ended here and goes on as another: music on hold, or a television, would else be one endless
turn, in which the agent neither answers nor is interrupted."""
MAX_SPEECH_WINDOWS = MAX_SPEECH_MS // WINDOW_MS
_RECENT = (1 << START_WINDOWS) - 1


class Endpointer:
    """Hears one stream of audio in one format.

    `threshold` (0 to 1) says how sure to be that it is speech; see `VoiceActivity`.
    `prefix_padding_ms` belongs to the same settings, but is subtracted by the call's rules
    and changes nothing here. `speaking` restores an utterance that was going on when another
    pod had the call, of which `spoken_bytes` have been heard; `at_bytes` is the position of the
    first byte that `feed` will get. `above_noise`: see `VoiceActivity.above_noise`.
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
        above_noise: float = ABOVE_NOISE,
    ) -> None:
        self._activity = VoiceActivity(audio_format, threshold=threshold, speaking=speaking)
        self._activity.above_noise = above_noise
        self._window_bytes = audio_format.size(WINDOW_MS)
        self._silence_windows = max(1, -(-silence_duration_ms // WINDOW_MS))
        self._position = at_bytes
        self.spoken_to = at_bytes
        """Up to where the caller has spoken, in bytes: where the pause began that lasts, or ended the utterance."""
        self._pending = b""
        self._speaking = speaking
        self._spoken_windows = spoken_bytes // self._window_bytes
        self._cut = False
        """Whether the last utterance was ended although it went on, and no pause has come since."""
        self._unvoiced = 0
        self._recent = 0

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

    def go_on(self, before: bytes, onset: Onset) -> None:
        """Be as at the onset of the utterance that is going on, where this endpointer began.

        Only WebRTC's detector has heard less then: of what was before it, `before`.
        """
        size = self._window_bytes
        for at in range(len(before) % size, len(before), size):
            self._activity.is_voiced(before[at : at + size])
        self._activity.noise = onset.noise
        self._spoken_windows = 0

    @property
    def pause_ms(self) -> int:
        """How long the caller has paused inside an utterance; 0 while speaking and while silent."""
        return self._unvoiced * WINDOW_MS if self._speaking else 0

    def _hear(self, window: bytes) -> VoiceBoundary | None:
        self._position += len(window)
        voiced = self._is_voiced(window)
        if self._speaking:
            self._unvoiced = 0 if voiced else self._unvoiced + 1
            if voiced:
                self.spoken_to = self._position
            self._spoken_windows += 1
            is_pause = self._unvoiced >= self._silence_windows
            self._cut = self._spoken_windows >= MAX_SPEECH_WINDOWS and not is_pause
            if not is_pause and not self._cut:
                return None
            return self._stop()
        if self._cut:
            self._unvoiced = 0 if voiced else self._unvoiced + 1
            self._cut = self._unvoiced < self._silence_windows
        self._recent = (self._recent << 1 | voiced) & _RECENT
        if self._recent.bit_count() < START_VOICED or not self._may_start():
            return None
        self._speaking = True
        self.spoken_to = self._position
        self._unvoiced = self._spoken_windows = 0
        start = self._position - self._recent.bit_length() * self._window_bytes
        onset = Onset(self._position, self._position - self._hear_again(), self._activity.noise)
        return VoiceBoundary(True, start, self._position, goes_on=self._cut, onset=onset)

    def _stop(self) -> VoiceBoundary:
        self._speaking = False
        self._recent = 0
        return VoiceBoundary(False, self._position, goes_on=self._cut, spoken_to=self.spoken_to)

    # --- what another endpointer may judge otherwise -----------------------------

    def _is_voiced(self, window: bytes) -> bool:
        return self._activity.is_voiced(window)

    def _may_start(self) -> bool:
        """Whether an utterance starts now that enough windows are voiced."""
        return True

    def _hear_again(self) -> int:
        """An utterance has started: how many bytes before here its judge begins to hear it anew."""
        return 0
