"""A tone alphabet: speech whose words can be read from its sound.

Each letter is two tones at once, one of eight low and one of eight high frequencies, all of them within a telephone's
band. A word is::

    begin  letter  letter  …  end  pause

each part of 40 ms, so that it lasts as long as people take for it (18 letters a second), and the pause behind the end
of a sentence is longer. What is read survives another sampling rate, G.711 and silence between words.

A word that is cut reads as what was left of it with `CUT` where it was cut: "hel…", "…lo", or "…ell…". Less than half
of a letter is not read, and a word of which no letter is left is none. Where the rest of a word follows its beginning
at the very next sample it is whole.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

RATE_HZ = 24_000
LETTER_MS = 40
SENTENCE_PAUSE_MS = 120
"""Beside the pause that each word has."""
CUT = "…"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789'-.:"
"""What words consist of; anything else is not said."""
_ENDS = "'-.:"
"""Said within words only."""
_BEGIN, _END = len(LETTERS), len(LETTERS) + 1
_TONES_HZ = np.arange(16) * 180 + 450
"""The lower eight and the upper eight; a window of 20 ms tells them apart."""
_AMPLITUDE = 6_000
"""Of each of the two tones."""
_WINDOW_MS, _HOP_MS = 20, 5
_QUIET = 600
"""RMS of a window that holds no tone."""
_CLEARER = 4.0
"""How much more power the tone of a letter has than any other of its eight."""
_LEAST_WINDOWS = 3
"""So many must agree on a letter: fewer are what is left of one, or a seam."""
_NONE, _UNCLEAR = -1, -2


def words_of(text: str) -> list[str]:
    """The words of a text as they are read when they have been said."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.lower()) if char.isspace() or char in LETTERS)
    return [word for word in (word.strip(_ENDS) for word in plain.split()) if word]


def sound_of(text: str) -> bytes:
    """Somebody saying `text`: PCM16 little-endian mono, 24 000 Hz. What has no words makes no sound."""
    parts: list[bytes] = []
    for written in text.split():
        for word in words_of(written):
            parts += [_letter(_BEGIN), *(_letter(LETTERS.index(letter)) for letter in word), _letter(_END)]
            parts.append(_silence(LETTER_MS))
        if parts and re.search(r"[.!?]\W*$", written):
            parts.append(_silence(SENTENCE_PAUSE_MS))
    return b"".join(parts)


def words_in(audio: bytes | bytearray, rate_hz: int = RATE_HZ) -> list[str]:
    """The words that are heard in PCM16 little-endian mono, in their order."""
    words: list[str] = []
    word: str | None = None

    def finish(end: str) -> None:
        nonlocal word
        if word is not None and word.strip(CUT):
            words.append(word + end)
        word = None

    for symbol, times in _runs(_symbols(np.frombuffer(audio, "<i2"), rate_hz)):
        if symbol == _NONE:
            finish(CUT)
        elif symbol == _BEGIN:
            finish(CUT)
            word = ""
        elif symbol == _END:
            finish("")
        else:
            word = (CUT if word is None else word) + LETTERS[symbol] * times
    finish(CUT)
    return words


@cache
def _letter(symbol: int) -> bytes:
    times = np.arange(RATE_HZ * LETTER_MS // 1000) / RATE_HZ
    low, high = _TONES_HZ[symbol // 8], _TONES_HZ[8 + symbol % 8]
    wave = np.sin(2 * np.pi * low * times) + np.sin(2 * np.pi * high * times)
    return (_AMPLITUDE * wave).astype("<i2").tobytes()


def _silence(duration_ms: int) -> bytes:
    return bytes(RATE_HZ * duration_ms // 1000 * 2)


def _symbols(samples: npt.NDArray[np.int16], rate_hz: int) -> npt.NDArray[np.int64]:
    """What each window holds: a symbol, `_NONE` or `_UNCLEAR`."""
    size, hop = rate_hz * _WINDOW_MS // 1000, rate_hz * _HOP_MS // 1000
    padded = np.concatenate([np.zeros(size // 2), samples, np.zeros(size)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    waves = np.exp(-2j * np.pi * np.outer(np.arange(size), _TONES_HZ) / rate_hz) * np.hanning(size)[:, None]
    power = np.abs(windows @ waves) ** 2
    best, is_clear = zip(*(_best(power[:, half]) for half in (slice(0, 8), slice(8, 16))), strict=True)
    found = np.where(is_clear[0] & is_clear[1], best[0] * 8 + best[1], _UNCLEAR)
    found[found > _END] = _UNCLEAR
    found[np.sqrt(np.mean(windows**2, axis=1)) < _QUIET] = _NONE
    return found


def _best(power: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The strongest tone of each window, and whether it is far stronger than the others."""
    ordered = np.sort(power, axis=1)
    return np.argmax(power, axis=1), ordered[:, -1] > _CLEARER * ordered[:, -2]


def _runs(symbols: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Symbols in their order, and how many letters each lasts; `_NONE` for silence."""
    edges = np.flatnonzero(np.diff(symbols)) + 1
    runs: list[tuple[int, int]] = []
    for at, end in zip([0, *edges], [*edges, len(symbols)], strict=True):
        symbol, windows = int(symbols[at]) if at < end else _UNCLEAR, int(end - at)
        if symbol == _NONE or (symbol != _UNCLEAR and windows >= _LEAST_WINDOWS):
            runs.append((symbol, max(1, round(windows * _HOP_MS / LETTER_MS))))
    return runs
