"""Endpointing for `semantic_vad`: a model confirms that it is speech, and how long a pause may be is told from outside.

WebRTC's detector and the levels (`voice_activity`) find what may be speech; Silero's model, where it is installed, is
asked only then, so that silence and steady noise cost nothing more. It begins with what came just before. ::

                 may be speech: asked             3 of 5 windows voiced and the model agrees
    SILENT, model not asked <──> SILENT, model asked ───────────────────────────────────────> SPEAKING, model asked

A cough, a door or a fan that starts is over, or goes on, without the model's agreement.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from voice_agent.call.audio import PCM, AudioFormat, to_linear
from voice_agent.call.inputs import VoiceBoundary
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.narrowing import narrow
from voice_agent.speech.silero import SileroModel, SileroStream
from voice_agent.speech.voice_activity import ABOVE_NOISE as NORMALLY
from voice_agent.speech.voice_activity import WINDOW_MS

CONTEXT_WINDOWS = 8
"""So many of before it was asked the model gets first: a tenth of a millisecond's work for each two."""
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
        self._before: deque[bytes] = deque(maxlen=CONTEXT_WINDOWS)
        """The last windows, while the model is not asked."""
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
        if not (voiced or self._recent or self._speaking):
            self._before.append(window)
            self._is_asked = False
            return False
        if not self._is_asked:
            self._is_asked = True
            stream.forget()
            stream.hear(b"".join(map(self._narrowed, self._before)))
            self._before.clear()
        likely = stream.hear(self._narrowed(window))
        if self._speaking:
            return likely >= LIKELY_GOES_ON and (voiced or (likely >= SURELY_SPEECH and not self._activity.was_low))
        return voiced

    def _may_start(self) -> bool:
        return self._stream is None or self._stream.likely >= LIKELY_STARTS

    def _narrowed(self, window: bytes) -> bytes:
        return narrow(window) if self._format is PCM else to_linear(window, self._format)
