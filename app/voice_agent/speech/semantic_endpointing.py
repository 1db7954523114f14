"""Endpointing for `semantic_vad`: a model confirms that it is speech, and how long a pause may be is told from outside.

WebRTC's detector and the levels (`voice_activity`) find what may be speech; Silero's model, where it is installed, is
asked only then, so that silence and steady noise cost nothing more. It begins with what came just before, and with
the start of an utterance once more. ::

                 may be speech: asked             3 of 5 windows voiced and the model agrees
    SILENT, model not asked <──> SILENT, model asked ───────────────────────────────────────> SPEAKING, model asked

A cough, a door or a fan that starts is over, or goes on, without the model's agreement.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from voice_agent.call.audio import PCM, AudioFormat, to_linear
from voice_agent.call.input_buffer import Onset
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.speech.endpointing import START_WINDOWS, Endpointer
from voice_agent.speech.narrowing import narrow
from voice_agent.speech.silero import SileroModel, SileroStream
from voice_agent.speech.voice_activity import ABOVE_NOISE as NORMALLY
from voice_agent.speech.voice_activity import WINDOW_MS

CONTEXT_WINDOWS = 8
"""So many of before it was asked the model gets first: a tenth of a millisecond's work for each two."""
AGAIN_WINDOWS = CONTEXT_WINDOWS + START_WINDOWS
"""So many it gets again at the start of an utterance, at most, and then it hears all of it: another pod, which has no
more of the audio, so comes to the same."""
ABOVE_NOISE = 1.4
"""What stands out so much may be speech, 3 dB; steady noise does not, so that the model is not asked about it."""
LIKELY_STARTS = 0.5
LIKELY_GOES_ON = 0.35
"""How sure the model must be that an utterance starts, and that it goes on: ends of words are weak."""

SURELY_SPEECH = 0.9
"""… and from where on it need not stand out from the noise: words in loud noise do not."""


class SemanticEndpointer(Endpointer):
    """Hears one stream; `wait` says how long the pause may be that ends an utterance."""

    def __init__(self, audio_format: AudioFormat, model: SileroModel | None, **given: Any) -> None:
        """`model` None: WebRTC's detector and the levels alone. `given`: as for `Endpointer`."""
        super().__init__(audio_format, above_noise=NORMALLY if model is None else ABOVE_NOISE, **given)
        self._format = audio_format
        self._stream = SileroStream(model) if model is not None else None
        self._before: deque[bytes] = deque(maxlen=AGAIN_WINDOWS)
        """The last windows, while nobody speaks."""
        self._again_windows = min(AGAIN_WINDOWS, given["prefix_padding_ms"] // WINDOW_MS)
        self._is_asked = False

    def wait(self, silence_ms: int) -> None:
        """An utterance ends after so much silence from now on: with the next audio, or with `end_if_due`."""
        self._silence_windows = max(1, -(-silence_ms // WINDOW_MS))

    def end_if_due(self) -> tuple[VoiceBoundary, ...]:
        """The end of the utterance, if there has been silence enough; no audio need come for that."""
        return (self._stop(),) if self._speaking and self._unvoiced >= self._silence_windows else ()

    def _is_voiced(self, window: bytes) -> bool:
        voiced = super()._is_voiced(window)
        stream = self._stream
        if stream is None:
            return voiced
        if self._speaking:
            likely = stream.hear(self._narrowed(window))
            return likely >= LIKELY_GOES_ON and (voiced or (likely >= SURELY_SPEECH and not self._activity.was_low))
        self._before.append(window)
        if not (voiced or self._recent):
            self._is_asked = False
            return False
        if not self._is_asked:
            self._is_asked = True
            stream.forget()
            stream.hear(self._narrowed(b"".join(list(self._before)[-CONTEXT_WINDOWS - 1 : -1])))
        stream.hear(self._narrowed(window))
        return voiced

    def _hear_again(self) -> int:
        """From no further back than the call keeps audio: so another pod hears the same, in the same steps of 32 ms."""
        if self._stream is None:
            return 0
        before = b"".join(list(self._before)[-self._again_windows :] if self._again_windows else ())
        self._before.clear()
        self._stream.forget()
        self._stream.hear(self._narrowed(before))
        return len(before)

    def go_on(self, before: bytes, onset: Onset) -> None:
        """See `Endpointer.go_on`."""
        super().go_on(before, onset)
        if self._stream is not None:
            self._is_asked = True
            self._stream.hear(self._narrowed(before[len(before) - onset.known_at + onset.heard_from :]))

    def _may_start(self) -> bool:
        return self._stream is None or self._stream.likely >= LIKELY_STARTS

    def _narrowed(self, window: bytes) -> bytes:
        return narrow(window) if self._format is PCM else to_linear(window, self._format)
