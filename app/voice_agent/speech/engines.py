"""The engines that a speech worker may load, by name: what hears, and what speaks.

An ear or a voice that works in the speech workers names its engine when it is made (`SpeechWorkers.use`), with the
settings that the engine is loaded with. Each worker loads those that are used before its first job, and each once.
Nothing here imports an engine before it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from voice_agent.call.audio import AudioFormat
from voice_agent.kit.ear import Transcript
from voice_agent.speech.spoken import SynthesizedSpeech


@runtime_checkable
class EarEngine(Protocol):
    """Understands speech. One job at a time in a process."""

    def transcribe(
        self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = ""
    ) -> Transcript | str | None:
        """What was said; as `Ear.transcribe`. `language`: as ``en``; an engine without it understands nothing.

        `prompt`: as `Clip.prompt`.
        """


@runtime_checkable
class AnswerEngine(EarEngine, Protocol):
    """An ear that understands better what was said where a yes or a no is due."""

    def transcribe_answer(
        self, audio: bytes, audio_format: AudioFormat, language: str, prompt: str = ""
    ) -> Transcript | str | None:
        """As `transcribe`, of what may be an answer to a yes/no question, or anything else."""


@runtime_checkable
class VoiceEngine(Protocol):
    """Makes speech. One job at a time in a process."""

    def speak(self, text: str, voice: str, speed: float, seed: str, language: str) -> SynthesizedSpeech:
        """`text` spoken: PCM, and where its words begin. `seed`, `voice` and `speed`: as in `Utterance`."""


Engine = EarEngine | VoiceEngine


def load(name: str, settings: Mapping[str, Any]) -> Engine:
    """An engine, ready to work. Raises what keeps it from that, `KeyError` for one that there is not."""
    return _LOADERS[name](**settings)


def _pocketsphinx() -> Engine:
    from voice_agent.speech.recognition import Recognizer

    return Recognizer()


def _espeak() -> Engine:
    from voice_agent.speech.synthesis import EspeakEngine

    return EspeakEngine()


def _hibari() -> Engine:
    from voice_agent.speech.hibari_engine import HibariEngine

    return HibariEngine()


def _piper(voice: str = "") -> Engine:
    from voice_agent.speech.piper_engine import PiperEngine

    return PiperEngine(voice)


def _whisper(model: str = "") -> Engine:
    from voice_agent.speech.whisper import WhisperEngine

    return WhisperEngine(model)


def _natural(model: str = "") -> Engine:
    from voice_agent.speech.second_opinion import NaturalEngine

    return NaturalEngine(model)


_LOADERS: Mapping[str, Callable[..., Engine]] = {
    "espeak": _espeak,
    "hibari": _hibari,
    "natural": _natural,
    "piper": _piper,
    "pocketsphinx": _pocketsphinx,
    "whisper": _whisper,
}
"""To add one: a function that imports it and returns it; its parameters are the settings that `use` gives."""
