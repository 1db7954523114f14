"""Speech to text within the grammar of what callers say (`grammars`), with PocketSphinx.

A grammar decoder always finds *some* sentence of its grammar in a sound. Whether that is
what was said shows in the score of each frame: how much worse the sound state that the
sentence demands fits than the best of all the states of the model (``compallsen``, in
steps of 1024 log-units of base 1.0001). Speech that follows the grammar is 25 to 50
such steps off on average, other speech 50 to 100. So a sentence is believed only if

- its words are no more than `WORST_MEAN` steps off on average, and
- its worst single word no more than `WORST_WORD`: one wrong word must not hide in a long sentence.

Else it was not understood; nothing is guessed. Telephone speech lacks what is above 4 kHz,
which the model expects, so all of it is further off. ``tests/speech/README.md`` has the figures.

Silence stands in the grammar itself, as the word ``sil`` where people pause: letting
the decoder put fillers between any two words costs ten times as much.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import soxr
from pocketsphinx import Decoder, Jsgf, LogMath, get_model_path

from voice_agent.call.audio import AudioFormat, to_linear
from voice_agent.speech.sounds import has_speech
from voice_agent.speech.word_graph import Grammar, WordGraph

RATE_HZ = 16_000
WORST_MEAN = -50.0
WORST_MEAN_TELEPHONE = -52.0
WORST_WORD = -80.0
GRAMMARS = Path(__file__).parent / "grammars"
_WORD = re.compile(r"[\w']+")
_NO_WORD = "(NULL)"
"""An arc without a word, which takes no time."""
_SILENCE = frozenset({"sil", "<s>", "</s>", "<sil>", _NO_WORD})
_STEPS_PER_NEPER = 10_000
"""The decoder counts in logarithms of base 1.0001."""
_PADDING = np.zeros(RATE_HZ * 150 // 1000, np.int16)
_MARGIN_FRAMES = 5
_FRAME = RATE_HZ // 100
_QUIET = 0.02
"""A frame at the edge of a recording counts as silence if it is this weak beside the strongest."""

Samples = npt.NDArray[np.int16]
"""At `RATE_HZ`."""


class Segment(Protocol):
    """A word the decoder found; `ascore` is its acoustic score as a plain number, so an exponential."""

    word: str
    start_frame: int
    end_frame: int
    ascore: float


class Recognizer:
    """A decoder with its model and grammar loaded (about 60 MB). Not safe for threads."""

    def __init__(self, grammar: str = "frontdesk") -> None:
        """`grammar` names a ``.jsgf`` and a ``.dict`` in `GRAMMARS`. Raises `RuntimeError` if they do not fit."""
        self._grammar = grammar
        self._decoder = Decoder(
            hmm=str(Path(get_model_path()) / "en-us" / "en-us"),
            dict=str(GRAMMARS / f"{grammar}.dict"),
            lm=None,
            samprate=RATE_HZ,
            fsgusefiller=False,
            compallsen=True,
            # The lattice behind it costs as much again as a third of the search, and finds the same words.
            bestpath=False,
            # A narrower search than the default (1e-48, 7e-29): half the time on long sentences, and of 310
            # sentences by other voices 280 instead of 282 right.
            beam=1e-40,
            pbeam=1e-40,
            wbeam=1e-24,
            loglevel="FATAL",
        )
        self._loaded: set[str] = set()
        self._use(grammar)

    def _use(self, grammar: str) -> None:
        """Look for sentences of this one from now on."""
        if grammar not in self._loaded:
            graph = WordGraph.smallest(compiled(grammar))
            end, transitions = graph.transitions()
            self._decoder.add_fsg(grammar, self._decoder.create_fsg(grammar, graph.start, end, transitions))
            self._loaded.add(grammar)
        self._decoder.activate_search(grammar)

    def transcribe(
        self, audio: bytes, audio_format: AudioFormat, language: str = "en", _prompt: str = ""
    ) -> str | None:
        """What was said, in small letters; None: not understood; "": there was no speech."""
        if language != "en":
            return None
        if not has_speech(audio, audio_format):
            return ""
        return self.sentence(wide(audio, audio_format), is_telephone=audio_format.rate_hz < RATE_HZ)

    def sentence(self, samples: Samples, *, is_telephone: bool) -> str | None:
        """What was said, in small letters; None: nothing that is believed."""
        words = self.words(samples)
        worst_mean = WORST_MEAN_TELEPHONE if is_telephone else WORST_MEAN
        return " ".join(word for word, _, _ in words) if _is_believable(words, worst_mean) else None

    def unknown(self, text: str) -> int:
        """How many words of a text it has never heard of, and so cannot have understood; numbers are no words."""
        words = [word for word in _WORD.findall(text.lower()) if word[0].isalpha()]
        return sum(self._decoder.lookup_word(word) is None for word in words)

    def words(self, samples: Samples) -> list[tuple[str, int, float]]:
        """The likeliest sentence of the grammar: each word, its frames of 10 ms, and its score in steps a frame."""
        self._decode(samples)
        return [] if self._decoder.hyp() is None else list(_scored(self._decoder.seg()))

    def scores(self, samples: Samples, grammars: Sequence[str]) -> Mapping[str, float]:
        """How far the likeliest sentence of each of other grammars is off, silence and all: steps a frame, as above.

        Of words of the dictionary that was loaded; -inf: none fits at all.
        """
        found = {}
        try:
            for grammar in grammars:
                self._use(grammar)
                self._decode(samples)
                found[grammar] = -math.inf if self._decoder.hyp() is None else _mean(self._decoder.seg())
        finally:
            self._use(self._grammar)
        return found

    def _decode(self, samples: Samples) -> None:
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(np.concatenate([_PADDING, _sound(samples), _PADDING]).tobytes(), full_utt=True)
        decoder.end_utt()


def compiled(name: str) -> Grammar:
    """A file of `GRAMMARS`, its rule ``turn``, as PocketSphinx has it."""
    rules = Jsgf(str(GRAMMARS / f"{name}.jsgf"))
    graph = rules.build_fsg(rules.get_rule(f"{name}.turn"), LogMath(), 1.0)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "grammar.fsg"
        graph.writefile(str(written))
        return Grammar.read(written.read_text())


def wide(audio: bytes, audio_format: AudioFormat) -> Samples:
    """A clip as the decoder takes it."""
    samples = np.frombuffer(to_linear(audio, audio_format), "<i2")
    return np.asarray(soxr.resample(samples, audio_format.rate_hz, RATE_HZ, quality="HQ"), np.int16)


def _sound(samples: Samples) -> Samples:
    """The recording without the silence before and after it.

    The decoder measures sounds against the mean of the whole clip, so one with long
    silences is recognised worse, and so is one cut right at its first sound.
    """
    count = len(samples) // _FRAME
    if not count:
        return samples
    levels = np.sqrt(np.mean(samples[: count * _FRAME].reshape(count, _FRAME).astype(np.float32) ** 2, axis=1))
    loud = np.flatnonzero(levels >= levels.max() * _QUIET)
    first, last = max(0, loud[0] - _MARGIN_FRAMES), loud[-1] + 1 + _MARGIN_FRAMES
    return samples[first * _FRAME : last * _FRAME]


def _scored(segments: Iterable[Segment]) -> Iterable[tuple[str, int, float]]:
    for segment in segments:
        if segment.word in _SILENCE:
            continue
        frames = _frames(segment)
        yield segment.word.partition("(")[0], frames, _steps(segment) / frames


def _mean(segments: Iterable[Segment]) -> float:
    all_of_it = [segment for segment in segments if segment.word != _NO_WORD]
    return sum(map(_steps, all_of_it)) / sum(map(_frames, all_of_it))


def _frames(segment: Segment) -> int:
    return segment.end_frame - segment.start_frame + 1


def _steps(segment: Segment) -> float:
    """A score too bad for a floating point number arrives as 0."""
    return math.log(segment.ascore) * _STEPS_PER_NEPER if segment.ascore > 0 else -math.inf


def _is_believable(words: list[tuple[str, int, float]], worst_mean: float) -> bool:
    if not words:
        return False
    mean = sum(frames * steps for _, frames, steps in words) / sum(frames for _, frames, _ in words)
    return mean >= worst_mean and min(steps for _, _, steps in words) >= WORST_WORD
