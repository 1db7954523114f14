"""Speaking: text to speech with espeak-ng, whose library and data come inside the wheel of ``espeakng_loader``.

The same text, voice and speed give the same bytes, on every pod: that is what lets a
reply be made again after a crash and go on where it stopped. espeak-ng does not do that
by itself: from sentence to sentence it keeps the phase of its flutter, lengths and more
in globals of the library. So every sentence gets a library freshly loaded (3 ms) and a
random seed of its own, and the library is unloaded after it.

C interface: ``speak_lib.h`` and ``espeak_ng.h`` of espeak-ng.
"""

from __future__ import annotations

import _ctypes
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import NamedTuple

import espeakng_loader
import numpy as np
import numpy.typing as npt
import soxr

from voice_agent.call.audio import PCM
from voice_agent.speech.spoken import SynthesizedSpeech

WORDS_PER_MINUTE = 165
"""At speed 1."""
LEAST_WORDS_PER_MINUTE = 80
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_POS_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_LIST_TERMINATED, _WORD = 0, 1


class _EspeakEvent(ctypes.Structure):
    """``espeak_EVENT``; `text_position` counts characters from 1."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_ms", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_EspeakEvent))


class EspeakVariant(NamedTuple):
    """A voice of espeak-ng: its name with a variant, and how high and how lively it speaks (0 to 100, 50 is normal)."""

    name: str
    pitch: int = 50
    liveliness: int = 50


VOICES = {
    "alloy": EspeakVariant("gmw/en-US+f2", 42),
    "ash": EspeakVariant("gmw/en-US+m3", 38),
    "ballad": EspeakVariant("gmw/en+m1", 50, 65),
    "cedar": EspeakVariant("gmw/en-US+m7", 34),
    "coral": EspeakVariant("gmw/en-US+f3", 55, 60),
    "echo": EspeakVariant("gmw/en-US+m1", 45),
    "marin": EspeakVariant("gmw/en-US+f4", 48),
    "sage": EspeakVariant("gmw/en+f1", 46, 40),
    "shimmer": EspeakVariant("gmw/en-US+f1", 60, 60),
    "verse": EspeakVariant("gmw/en-US+m2", 55, 65),
}
"""By the names of OpenAI's voices; any other name speaks as `DEFAULT_VOICE`."""
DEFAULT_VOICE = "alloy"


def synthesize(text: str, voice: str | EspeakVariant = DEFAULT_VOICE, speed: float = 1.0) -> bytes:
    """The audio of `speak`."""
    return speak(text, voice, speed).audio


def speak(text: str, voice: str | EspeakVariant = DEFAULT_VOICE, speed: float = 1.0) -> SynthesizedSpeech:
    """`text` spoken.

    `voice` is a name of `VOICES`, or a voice of espeak-ng itself.

    One call at a time in a process. Raises `OSError` when the library or its data cannot be used.
    """
    if not text.strip():
        return SynthesizedSpeech(b"", [])
    chosen = voice if isinstance(voice, EspeakVariant) else VOICES.get(voice, VOICES[DEFAULT_VOICE])
    with _loaded() as espeak:
        samples, rate_hz = espeak.speak(text, chosen, speed)
        words = _ascending(espeak.words, len(text))
    audio: bytes = soxr.resample(samples, rate_hz, PCM.rate_hz, quality="MQ").astype("<i2").tobytes()
    return SynthesizedSpeech(audio, words)


class EspeakEngine:
    """For the speech workers. It needs no seed; a language that it does not know is pronounced as English."""

    def __init__(self) -> None:
        """Raises `OSError` when the library or its data cannot be used."""
        speak("ready")

    def speak(self, text: str, voice: str, speed: float, seed: str, language: str) -> SynthesizedSpeech:
        """See `speak`."""
        chosen = VOICES.get(voice, VOICES[DEFAULT_VOICE])
        if language in ("", "en"):
            return speak(text, chosen, speed)
        variant = chosen.name.partition("+")[2]
        try:
            return speak(text, chosen._replace(name=f"{language}+{variant}"), speed)
        except OSError:
            return speak(text, chosen, speed)


def _ascending(words: list[tuple[int, int]], text_chars: int) -> list[list[int]]:
    """Without what espeak-ng says twice, as of the parts of a number."""
    kept: list[list[int]] = [[0, 0]]
    for ms, chars in words:
        if ms >= kept[-1][0] and kept[-1][1] < chars < text_chars:
            kept.append([ms, chars])
    return kept[1:]


class _Espeak:
    """The library, fresh from its file."""

    def __init__(self) -> None:
        library = self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        number, pointer = ctypes.c_uint, ctypes.c_void_p
        library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, number, ctypes.c_int, number, number, pointer, pointer)
        ]
        data = espeakng_loader.get_data_path()
        self._rate_hz = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), _INITIALIZE_DONT_EXIT)
        if self._rate_hz <= 0:
            raise OSError(f"espeak-ng cannot be initialised with {data}")
        self._pieces: list[bytes] = []
        self.words: list[tuple[int, int]] = []
        """Milliseconds and characters before each word, as the library tells them."""
        # The library calls this as long as it is loaded: it must not be collected.
        self._callback = _CALLBACK(self._take)
        library.espeak_SetSynthCallback(self._callback)
        library.espeak_ng_SetRandSeed(1)

    def speak(self, text: str, voice: EspeakVariant, speed: float) -> tuple[npt.NDArray[np.int16], int]:
        """Samples and their rate."""
        library = self.library
        _check(library.espeak_SetVoiceByName(voice.name.encode()), f"voice {voice.name}")
        words_per_minute = max(LEAST_WORDS_PER_MINUTE, round(WORDS_PER_MINUTE * speed))
        for parameter, value in ((_RATE, words_per_minute), (_PITCH, voice.pitch), (_RANGE, voice.liveliness)):
            _check(library.espeak_SetParameter(parameter, value, 0), f"parameter {parameter}={value}")
        encoded = text.replace("\0", " ").encode("utf-8", "replace")
        _check(library.espeak_Synth(encoded, len(encoded) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None), "text")
        return np.frombuffer(b"".join(self._pieces), "<i2"), self._rate_hz

    def _take(self, samples: object, count: int, events: Iterator[_EspeakEvent] | None) -> int:
        if samples and count > 0:
            self._pieces.append(ctypes.string_at(samples, count * 2))  # type: ignore[arg-type]
        for event in takewhile(lambda event: event.type != _LIST_TERMINATED, events or ()):
            if event.type == _WORD:
                self.words.append((event.audio_ms, event.text_position - 1))
        return 0


@contextmanager
def _loaded() -> Iterator[_Espeak]:
    espeak = _Espeak()
    try:
        yield espeak
    finally:
        espeak.library.espeak_Terminate()
        _ctypes.dlclose(espeak.library._handle)  # noqa: SLF001 ctypes has no other way to unload


def _check(error: int, what: str) -> None:
    if error:
        raise OSError(f"espeak-ng refuses {what}: error {error}")
