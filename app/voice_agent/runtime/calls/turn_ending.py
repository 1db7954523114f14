"""How long a pause ends a turn under `semantic_vad`: by whether what was understood before it is a finished sentence.

The length that holds is the one for what is not known until the ear has been asked, early in the pause; an utterance
that goes on is judged anew. ::

    ... Tuesday at three | 140 ms: the ear is asked | finished: ends after 320 ms
    ... on Tuesday at    |                          | goes on: ends after 1 800 ms
    nothing understood   |                          | ends after 800 ms

An ear that stops soon is asked at 80 ms already (`early_transcription.AHEAD_MS`). An ear that is slow, or audio that
comes in a burst, so ends turns as silence alone would.
"""

from __future__ import annotations

from typing import Any

import structlog

from voice_agent.call.record import CallRecord
from voice_agent.call.session_config import TurnDetection, spoken_language
from voice_agent.kit.agent import Agent
from voice_agent.runtime.calls.early_transcription import EARLY_PAUSE_MS
from voice_agent.speech import sentence_end
from voice_agent.speech.endpointing import Endpointer
from voice_agent.speech.semantic_endpointing import SemanticEndpointer
from voice_agent.speech.silero import ready_model

SEMANTIC_EARLY_PAUSE_MS = 140
"""Where a pause is judged by what was said, the ear is asked sooner: a short one may end the turn."""
YOUNG_MS = 1_000
"""Of audio since the ear was last asked about an utterance: one that stops again so soon is given …"""
AGAIN_PAUSE_MS = 300
"""… so much longer to go on, for each attempt costs as much as the whole utterance; still less than ends a turn."""

log = structlog.get_logger(__name__)


class TurnEnding:
    """One call's."""

    def __init__(self, call: CallRecord, agent: Agent) -> None:
        self._call = call
        self._agent = agent

    def endpointer(self, detection: TurnDetection, at_bytes: int) -> Endpointer:
        """What detects turns from a position in the caller's audio on, as the session asks for."""
        buffer = self._call.input_audio
        audio_format = self._call.session.input_format
        given: dict[str, Any] = {
            "threshold": detection.threshold,
            "prefix_padding_ms": detection.prefix_padding_ms,
            "silence_duration_ms": detection.silence_duration_ms,
            "speaking": buffer.speaking,
            "spoken_bytes": at_bytes - buffer.start,
            "at_bytes": at_bytes,
        }
        if detection.mode == "server_vad":
            return Endpointer(audio_format, **given)
        return SemanticEndpointer(audio_format, ready_model(), **given)

    def judge_anew(self, endpointer: Endpointer | None) -> None:
        """It is not known yet what is being said: wait as for anything."""
        detection = self._call.session.turn_detection
        if detection is not None and isinstance(endpointer, SemanticEndpointer):
            endpointer.wait(detection.silence_duration_ms)

    def heeded_pause_ms(self, endpointer: Endpointer | None, asked_bytes: int) -> int:
        """The pause from which on the turn may be over; longer where the ear was asked just before.

        `asked_bytes`: how much of the utterance there was then; 0: it was not asked.
        """
        call = self._call
        since_ms = call.session.input_format.ms(len(call.input_audio.audio) - asked_bytes)
        if asked_bytes and since_ms < YOUNG_MS:
            return AGAIN_PAUSE_MS
        return self.early_pause_ms(endpointer)

    def clip_bytes(self, endpointer: Endpointer | None, said_bytes: int, ahead_ms: int) -> int:
        """How much of a turn the ear gets, of which the caller spoke in the first `said_bytes`.

        It is asked the first time `ahead_ms` before a pause is heeded.
        """
        return said_bytes + self._call.session.input_format.size(self.early_pause_ms(endpointer) - ahead_ms)

    def early_pause_ms(self, endpointer: Endpointer | None) -> int:
        """The pause that is heeded first."""
        return SEMANTIC_EARLY_PAUSE_MS if isinstance(endpointer, SemanticEndpointer) else EARLY_PAUSE_MS

    def silence_ms(self, text: str | None, detection: TurnDetection) -> int:
        """The pause that ends a turn of which so much was understood."""
        sure = self._sure(text or "")
        if sure >= sentence_end.FINISHED:
            return detection.finished_silence_ms
        return detection.silence_duration_ms if sure > sentence_end.UNFINISHED else detection.unfinished_silence_ms

    def _sure(self, text: str) -> float:
        said = spoken_language(self._call.session.fields)
        language = said or self._agent.language or sentence_end.DEFAULT_LANGUAGE
        try:
            hint = self._agent.is_finished(text, language)
        except Exception:
            # The agent's opinion; the turn ends without it.
            log.exception("agent raised when asked about a turn", agent=self._agent.name, call_id=self._call.call_id)
            hint = None
        return sentence_end.is_finished(text, language) if hint is None else hint
