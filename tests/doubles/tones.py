"""A tone alphabet: speech whose words can be read from its sound.

Each letter is two tones at once, one of eight low and one of eight high frequencies, all of them within a telephone's
band. A word is::

    pause  begin  letter  letter  …  end

each part of 48 ms but the pause, with which letters, full stops and blanks pass at an even pace: 15 a second, as people
speak. (Words of one or two letters take a little longer.) Words begin and end softly, as a voice does: what is as loud
from its first moment as it is later is a whistle, not a voice, to whom listens for one. What is read survives another
sampling rate, G.711 and silence between words.

A word that is cut reads as what was left of it with `CUT` where it was cut: "hel…", "…lo", or "…ell…"; it is whole only
with all of its end. Less than half of a letter is not read, and a word of which no letter is left is none. Where the
rest of a word follows its beginning at the very next sample it is whole.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

RATE_HZ = 24_000
LETTER_MS = 48
CHAR_SAMPLES = 1_600
"""How long one character of a text takes: 15 pass in a second."""
LEAST_PAUSE_SAMPLES = 480
"""In front of a word."""
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
_SOFT_AMPLITUDE = 2_400
"""Of the tones with which a word begins and ends."""
_WINDOW_MS, _HOP_MS = 20, 5
_QUIET = 600
"""RMS of a window that holds no tone."""
_CLEARER = 4.0
"""How much more power the tone of a letter has than any other of its eight."""
_LEAST_WINDOWS = 3
"""So many must agree on a letter: fewer are what is left of one, or a seam."""
_WHOLE_WINDOWS = 8
"""With fewer the end of a word is not whole."""
_NONE, _UNCLEAR = -1, -2


def words_of(text: str) -> list[str]:
    """The words of a text as they are read when they have been said."""
    plain = "".join(char for char in unicodedata.normalize("NFKD", text.lower()) if char.isspace() or char in LETTERS)
    return [word for word in (word.strip(_ENDS) for word in plain.split()) if word]


def sound_of(text: str) -> bytes:
    """Somebody saying `text`: PCM16 little-endian mono, 24 000 Hz. What has no words makes no sound."""
    parts: list[bytes] = []
    for written in text.split():
        tones = b"".join(map(_tones, words_of(written)))
        samples = (len(written) + 1) * CHAR_SAMPLES - len(tones) // 2
        parts += [bytes(2 * max(LEAST_PAUSE_SAMPLES, samples)), tones]
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

    for symbol, windows in _runs(_symbols(np.frombuffer(audio, "<i2"), rate_hz)):
        if symbol == _NONE:
            finish(CUT)
        elif symbol == _BEGIN:
            finish(CUT)
            word = ""
        elif symbol == _END:
            finish("" if windows >= _WHOLE_WINDOWS else CUT)
        else:
            word = (CUT if word is None else word) + LETTERS[symbol] * max(1, round(windows * _HOP_MS / LETTER_MS))
    finish(CUT)
    return words


def _tones(word: str) -> bytes:
    return b"".join([_letter(_BEGIN), *(_letter(LETTERS.index(letter)) for letter in word), _letter(_END)])


@cache
def _letter(symbol: int) -> bytes:
    times = np.arange(RATE_HZ * LETTER_MS // 1000) / RATE_HZ
    low, high = _TONES_HZ[symbol // 8], _TONES_HZ[8 + symbol % 8]
    wave = np.sin(2 * np.pi * low * times) + np.sin(2 * np.pi * high * times)
    amplitude = _SOFT_AMPLITUDE if symbol in {_BEGIN, _END} else _AMPLITUDE
    return (amplitude * wave).astype("<i2").tobytes()


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
    """Symbols in their order, and how many windows each lasts; `_NONE` for silence."""
    edges = np.flatnonzero(np.diff(symbols)) + 1
    runs: list[tuple[int, int]] = []
    for at, end in zip([0, *edges], [*edges, len(symbols)], strict=True):
        symbol, windows = int(symbols[at]) if at < end else _UNCLEAR, int(end - at)
        if symbol == _NONE or (symbol != _UNCLEAR and windows >= _LEAST_WINDOWS):
            runs.append((symbol, windows))
    return runs
